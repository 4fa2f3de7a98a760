"""Signals of texts in many scripts: those that say nothing about one are left out, and Hangul has its own."""

import numpy as np
import pytest
from test_signals import check, values

from charrnn.cells.report import CellsOptions, find_cells
from charrnn.cells.signals import BUILT_IN, OF_CHARACTERS, find_signals, misfits, scan
from charrnn.cells.signals.lines import URL
from charrnn.cells.signals.scripts import script_of
from charrnn.errors import ConfigError
from charrnn.model.parameters import Model
from charrnn.spec import ModelConfig
from charrnn.text.excerpt import Excerpt
from charrnn.text.vocabulary import Vocabulary

KOREAN = """어제 KBS에서 본 뉴스는 오늘 아침에도 다시 나왔다. 나는 책을 읽고 커피를 마셨다.
“정말이야?” 하고 친구가 물었다. 서울에서 부산까지 KTX로 세 시간이 걸린다.
그 사람은 IBM과 LG에서 일했고, 지금은 집에서 소설을 쓴다. 비가 오는 날에는 음악만 듣는다.
"""
CHINESE = "昨天我去了北京大学，看见很多学生在图书馆里读书。他们说：“今天的天气很好。”我们都笑了，然后回家吃饭。\n"
JAPANESE = "きのう東京でIBMの人に会った。「今日は寒い」と彼は言った。わたしは本を読んで、コーヒーを飲んだ。\n"
ARABIC = "ذهبت أمس إلى السوق مع صديقي واشترينا الخبز والماء. قال لي: هذا يوم جميل، ثم عدنا إلى البيت.\n"
HINDI = "मैं कल बाज़ार गया और वहाँ से किताबें ख़रीदीं। आज हिन्दी में एक कविता पढ़ी।\n"
RUSSIAN = "Вчера я ходил в МГУ и читал там книгу. Потом мы с другом пошли домой и пили чай в США.\n"
CODE = "#include <a.h>\nint f(int x)\n{\n\treturn MAX_A + x;\n}\n"


def names(text):
    return {signal.name for signal in find_signals(text)}


def test_on_korean_no_signal_of_case_or_vowels_is_scored_and_those_of_hangul_are():
    found = names(KOREAN * 60)
    assert not found & {"capital", "all-capitals", "vowel"}
    assert {"final-consonant", "particle", "script-switch", "word-position", "word-start", "quotes"} <= found


@pytest.mark.parametrize(
    "text, absent, present",
    [
        (CHINESE, {"capital", "all-capitals", "vowel", "word-position", "word-start"}, {"quotes", "line-position"}),
        (JAPANESE, {"capital", "all-capitals", "vowel", "word-position", "word-start", "script-switch"}, {"quotes"}),
        (ARABIC, {"capital", "all-capitals", "vowel"}, {"word-position", "word-start", "before-space"}),
        (HINDI, {"capital", "all-capitals", "vowel"}, {"word-position", "word-start"}),
        (RUSSIAN, set(), {"capital", "all-capitals", "vowel", "word-position"}),
        (CODE, {"string", "quotes"}, {"line-position", "capital", "parentheses"}),
        ("ROMEO. A ROSE BY ANY OTHER NAME\n", {"capital", "all-capitals"}, {"vowel"}),
        ("it is all one line, with no end. " * 3, {"line-position", "to-line-end"}, {"vowel", "word-start"}),
        ("12 + 3 = 15;\n", {"capital", "all-capitals", "word-position", "vowel"}, {"digit"}),
    ],
)
def test_what_says_nothing_about_a_script_is_left_out_and_what_does_is_not(text, absent, present):
    found = names(text * (7 if "\n" not in text else 100))
    assert not found & (absent | {"final-consonant", "particle"}) and present <= found


def test_english_loses_nothing():
    assert set(misfits('The KING said: "No."\n' * 20)) == {"final-consonant", "particle", "script-switch"}
    assert set(BUILT_IN) >= set(misfits(KOREAN * 9)) | set(misfits(CHINESE))
    assert {"final-consonant", "script-switch"} <= set(OF_CHARACTERS)


def test_a_signal_that_does_not_fit_is_refused_with_the_reason():
    text = KOREAN * 40
    vocabulary = Vocabulary("chars", "".join(sorted(set(text))))
    model = Model.initialise(ModelConfig("gru", vocabulary.size, 4, 1), 1)
    excerpt = Excerpt(np.array(vocabulary.encode(text)), 0, len(text))
    with pytest.raises(
        ConfigError, match="--find all-capitals: most letters of this text have no upper and lower case; this text has"
    ):
        find_cells(model, vocabulary, excerpt, CellsOptions(wanted="all-capitals"))


@pytest.mark.parametrize(
    "name, annotated",
    [
        ("all-capitals", "⟦KBS⟧는 ⟦IBM⟧과 A와 ⟦LG⟧전자, abCD가"),
        ("final-consonant", "하⟦늘⟧이 ⟦맑⟧다, A⟦각⟧"),
        ("final-consonant", "\u1112\u1161⟦\u11ab⟧\u1100\u1173⟦\u11af⟧"),
        ("script-switch", "가나 ⟦K⟧BS⟦는⟧ 12 ⟦A⟧b. ⟦나⟧"),
        ("word-start", "⟦ह⟧िन्दी ⟦क⟧विता"),
    ],
)
def test_where_signals_of_letters_are_on(name, annotated):
    check(lambda text: values(text, name), annotated)


@pytest.mark.parametrize(
    "annotated",
    [
        "책⟦을⟧ 읽고 커피⟦를⟧",
        "나⟦는⟧ 그⟦와⟧ 서울⟦로⟧ 갔다",  # 로 after ㄹ
        "집⟦으로⟧ 부산⟦에서⟧ 서울⟦까지⟧",
        "마을 사과 효과 을",  # 을 and 과 stand after a final consonant only, and after something
        "오늘 먹는 제도 회의 사이",
        "어머니⟦도⟧ 친구⟦가⟧ 바람⟦이⟧",
        "KBS는",  # Hangul alone is looked at: nothing of it stands before
        "학교⟦에서는⟧, 가⟦는⟧",  # a verb that is spelled alike
    ],
)
def test_a_particle_is_told_by_its_spelling(annotated):
    check(lambda text: values(text, "particle"), annotated)


def test_quotations_stand_beside_letters_without_case():
    check(lambda text: scan(text, "prose").single_quotes, "⟦'사과⟧'는 ⟦‘나무⟧’를 don't")
    check(lambda text: scan(text, "prose").quotes, '他说⟦"你好⟧"了 ⟦「今⟧」と ⟦『本⟧』')


def test_a_url_ends_where_hangul_or_han_begins():
    assert [match[0] for match in URL.finditer("https://a.kr/b를 보다 http://c.cn/你。")] == [
        "https://a.kr/b",
        "http://c.cn/",
    ]


@pytest.mark.parametrize(
    "symbol, script",
    [("가", "HANGUL"), ("中", "CJK"), ("a", "LATIN"), ("я", "CYRILLIC"), ("1", ""), ("あ", "HIRAGANA")],
)
def test_scripts_go_by_their_names(symbol, script):
    assert script_of(symbol) == script
