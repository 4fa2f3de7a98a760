"use strict";
// What a living page does first: it starts the engine's worker and hands over the weights, before the rest of the page is
// parsed and laid out. The worker starts and decodes meanwhile.
const Start = (() => {
  const content = (id) => document.getElementById(id).textContent;
  const header = JSON.parse(content("header"));
  const address = URL.createObjectURL(new Blob([content("engine")], { type: "text/javascript" }));

  const tell = (worker, piece) => worker.postMessage({ type: "weights", text: piece.content.textContent });

  /** Let call(message) hear a worker, and fail(problem) of its errors; also what it said before. */
  function listen(worker, call, fail) {
    worker.onmessage = ({ data }) => call(data);
    worker.onerror = (event) => { event.preventDefault(); fail(event.message); };
    for (const event of early.get(worker) || []) worker[`on${event.type}`](event);
    early.delete(worker);
  }

  /** Return another worker that has the model. */
  function another() {
    const worker = new Worker(address);
    for (const piece of document.querySelectorAll("template.weights")) tell(worker, piece);
    worker.postMessage({ type: "load", header });
    return worker;
  }

  const worker = new Worker(address), early = new Map([[worker, []]]);
  worker.onmessage = worker.onerror = (event) => { early.get(worker).push(event); };

  /** Hand over a piece of the weights, a template. With the last one the worker has its model. */
  globalThis.handOver = (piece) => {
    tell(worker, piece);
    if ("last" in piece.dataset) worker.postMessage({ type: "load", header });
  };

  return { header, worker, another, listen };
})();
