"""First starts at once with an empty kernel cache, and starts with a damaged one.

Kernels are compiled anew where need be, and the bits are the same.
"""

from cuts import result
from scene import Broken

TITLE = "The caches"
PROMISES = [
    (
        "If several processes start at the same time with an empty cache, they do not mix up the compiled kernels",
        "tests/test_compiled.py::test_processes_that_save_at_once_do_not_mix_their_entries_up",
    ),
    (
        "If a file of compiled kernels is damaged or swapped with another, charrnn compiles the kernels again",
        "tests/test_compiled.py::test_every_damaged_file_counts_as_missing",
    ),
    (
        "charrnn reads compiled kernels only from a folder in which no other user (except root) can write",
        "tests/test_compiled.py::test_a_folder_in_which_others_may_have_written_is_not_trusted",
    ),
    (
        "charrnn also uses a cache in which it cannot write. If there is no cache folder, it compiles the kernels in "
        "memory",
        "tests/test_confined.py::test_a_folder_that_can_only_be_read_is_read_first_and_the_next_is_written",
    ),
    (
        "charrnn never reads a file of the cache folder as the ids of a text (the text as numbers)",
        "tests/test_corpus.py::test_what_lies_in_the_cache_folder_is_never_read",
    ),
]
OPTIONS = ("--num-layers", 1, "--batch-size", 3, "--seq-length", 7, "--steps", 20, "--no-sample", "-q")


def run(scene):
    cache, text = scene.folder / "cache", scene.text(characters=3000)
    wanted, rounds = {}, 0
    processes = 2 if scene.quick else 4

    def begin(number):
        # Two dtypes: two entries of each kernel.
        return scene.start(
            "train",
            text,
            *OPTIONS,
            "--hidden-size",
            8,
            "--dtype",
            ("float32", "float64")[number % 2],
            "-o",
            f"run-{rounds}-{number}",
            environment={"CHARRNN_CACHE_DIR": str(cache)},
        )

    def start(count):
        nonlocal rounds
        rounds += 1
        for number, process in enumerate([begin(number) for number in range(count)]):
            _out, err = process.communicate()
            if process.returncode:
                raise Broken(f"start {number} of round {rounds}: exit code {process.returncode}, {err}")
            end = result(scene.folder / f"run-{rounds}-{number}")
            if end != wanted.setdefault(number % 2, end):
                raise Broken(f"start {number} of round {rounds} ended in other bits")

    start(processes)
    files = sorted((cache / "kernels").glob("*/*.code"))
    left = [path.name for path in (cache / "kernels").glob("*/*") if path not in files]
    if not files or left:
        raise Broken(f"the kernel cache holds {len(files)} files of code and {left}")
    damages = [
        lambda content, other: other,
        lambda content, other: content[: len(content) // 2],
        lambda content, other: bytes(len(content)),
        lambda content, other: content[:-900] + bytes([content[-900] ^ 4]) + content[-899:],
    ]
    for damage in damages[:1] if scene.quick else damages:
        contents = [file.read_bytes() for file in files]
        for number, file in enumerate(files):
            file.write_bytes(damage(contents[number], contents[number - 1]))
        start(2)
        start(2)
    return {"processes": processes, "files": len(files), "damages": 1 if scene.quick else len(damages)}


def tell(figures):
    return (
        f"{figures['processes']} processes started at the same time with an empty kernel cache, half of them in "
        f"float64. Processes with the same dtype trained to the same bits. They left {figures['files']} files of "
        "machine "
        f"code and no temporary file. Then all files were damaged in {figures['damages']} ways: each was swapped with "
        "another one, cut in half, filled with zeros, or one bit of its machine code was flipped. After each damage, "
        "two processes compiled the kernels again at the same time, and two later processes used the result."
    )
