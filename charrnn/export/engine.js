"use strict";
// The engine of a living page: a model that runs, and the text that it reads and writes. No look, no DOM.
//
// It runs in a Web Worker made from this text, and under Node. One text is at hand: a list of entries, each an id that
// the model has read. Entry numbers count from 0 and are what every message means by a place in the text. What stands
// before the text (a newline that an unprimed text follows; START, a label and SEP of an item) is the engine's own
// affair and has no number. The model's state is always that after the last entry.
//
//   page:    const worker = new Worker(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
//            worker.onmessage = ({ data }) => ...;  worker.postMessage({ type: "load", header, weights });
//   Node:    const engine = charrnnEngine((message) => ...);  engine.receive({ type: "load", header, weights });
//
// ---- to the engine. Each may have `request`, any value: the messages that answer it bear the same.
//
//   { type: "load", header, weights }       first, once. header: the object of the page's header; weights: base64
//   { type: "settings", temperature, top_k, top_p, min_p, seed }
//                                           how characters are chosen from now on; what is left out stays. At first 1,
//                                           null (all), 1, 0 and 0. temperature 0 is greedy. seed: a number, or a string
//                                           of digits (up to 2^64 - 1). Answered by "next".
//   { type: "edit", keep, text }            the text becomes its first `keep` entries and then `text`, which is read.
//                                           Typing, deleting and pasting are all this. Ends a generation at once.
//   { type: "take", id }                    likewise: one more entry, of an id (one of the likeliest next, clicked)
//   { type: "begin", label }                an empty text; of a model that writes for a label, with that label
//   { type: "generate", count, rate, items }
//                                           write `count` entries more (left out: until told to stop), `rate` of them in
//                                           a second at most (left out or 0: as fast as it goes). Of a model of items it
//                                           ends with the item; `items`: so many items more, one after the other.
//                                           Of a model that translates: the text is the source, and its target follows.
//   { type: "stop" }                        end a generation; answered by its "done"
//   { type: "watch", layer, unit, quantity }
//                                           the unit whose values are told; quantity: one of header.quantities, left
//                                           out: the default one. Answered by "values" of the text so far.
//   { type: "hold", holds, from }           from now on hold just these units: [{ layer, unit, value, quantity }, ...],
//                                           [] holds none. quantity: one of header.holdable, left out: the default one.
//                                           from "now": the last entry is read again with them, so that "next" shows
//                                           what changes; what stands before it stays. from "start": the whole text is
//                                           read again, as `charrnn sample --clamp` would: "steps" from 0 on follow.
//   { type: "state", quantity }             answered by "state": every unit's value after the last entry
//
// ---- from the engine
//
//   { type: "ready", facts, milliseconds }  after "load". facts: { parameters, weights }. "next" follows.
//   { type: "steps", at, of, ids, symbols, kinds, drawn, surprisal, values, guesses, chances, prime }
//       entries from number `at` on: what was there from `at` on is gone, and these stand in its place, one of each
//       array for an entry (guesses and chances: `header.guesses` of them).
//       of          entries of the whole text now
//       ids         Int32Array
//       symbols     array of strings to show: a character; of a model of bytes "" until a character's last byte is in;
//                   of START, SEP and END their marks; of a label its name
//       kinds       Uint8Array: 0 a character, 1 START, 2 SEP, 3 END, 4 a label
//       drawn       Uint8Array: 1 where the engine wrote it, 0 where it was typed
//       surprisal   Float32Array, nats, of the entry after those before it, at temperature 1; NaN where nothing was
//                   predicted (the first entry)
//       values      Float32Array, of the unit watched after it has read the entry; NaN where none is watched
//       guesses     Int32Array (n * G): the ids that were likeliest in the place of the entry, likeliest first
//       chances     Float32Array (n * G): their probabilities at temperature 1
//       A long edit or generation gives several, each of some milliseconds' work; with no entries (ids empty) the text
//       was only cut to `at`.
//   { type: "next", at, ids, symbols, kinds, p, q, entropy, labels }
//       what would follow the text, entry number `at`: the likeliest, `header.guesses` of them. p at temperature 1, q as
//       the settings would draw it (0 where they leave it out); entropy in nats, of p. labels: of a model that
//       predicts labels [{ name, p }, ...], the likeliest first, as if the text ended here; else null. Sent after every
//       message that changes what follows, and while a generation runs after each of its "steps".
//   { type: "values", layer, unit, quantity, at, values }
//       Float32Array: of the unit now watched, of every entry from `at` on (0; more where a very long text's beginning
//       is no longer remembered)
//   { type: "state", quantity, layers, units, values }      Float32Array (L * H)
//   { type: "done", reason, at, seconds, count }
//       a generation is over: "count", "stopped", "end" (the item or the target ended), "edited"; count: entries
//       written. Exactly one for each "generate".
//   { type: "left-out", symbols, count }    typed characters that the model does not know, and were not read
//   { type: "refused", problem }            a message that cannot be followed: a sentence; nothing has changed
//
// ---- the header (page.py writes it; export/payload.py makes it)
//
//   { format: 1, title, model_line, cell, cell_title, layers, units, vocab_size, embedding_size, tied, layer_norm,
//     zoneout, dtype, parameters,
//     vocabulary: { mode, symbols, special, labels, ... }   as in a checkpoint
//     shown        the symbol of every id as it is shown
//     task         null, "steer", "classify", "both" or "translate"; is_items: whether it is a model of items
//     quantities, default_quantity, holdable, default_hold  as in spec.py
//     guesses      how many likeliest ids are told
//     found        [{ name, phrase, layer, unit, quantity, score, measure, sign, null, untrained, off, on }, ...]: units
//                  that `charrnn cells` named, best first; off and on: their median where the signal is off and on
//     found_note   a sentence where there are none, else null
//     weights      { kind: "float32" | "float16" | "int8", loss_nats, full_loss_nats, cost_nats, characters, note }:
//                  what was measured on held-out text with these weights, and with all of their digits; null: not
//     run          { text, steps, validation_loss_nats, ... }: facts of the run, for a line on the page
//     seed, temperature, prime                              what the page opens with
//     arrays       [{ name, shape, kind, at, scale_at }, ...] of the weights }

/** Make an engine. post(message, transfer) tells what it has to say; returns { receive(message) }. */
function charrnnEngine(post) {
  return {
    receive(message) {
      post({ type: "refused", request: message.request, problem: `the engine does not know ${message.type} yet` });
    },
  };
}

if (typeof WorkerGlobalScope !== "undefined" && typeof self !== "undefined" && self instanceof WorkerGlobalScope) {
  const engine = charrnnEngine((message, transfer) => self.postMessage(message, transfer || []));
  self.onmessage = ({ data }) => engine.receive(data);
} else if (typeof module !== "undefined") {
  module.exports = { charrnnEngine };
}
