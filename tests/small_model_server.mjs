// A real model behind a chat-completions server: run by llama.cpp, held to a JSON Schema by a grammar.
//
// Started by `tests/small_model.py`, with the file of the weights and the folder that has node-llama-cpp; prints
// its port. It counts tokens, thinks for one at a time, and stops when whoever asked hangs up.

import {createServer} from "node:http";
import {pathToFileURL} from "node:url";

const [weights, folder] = process.argv.slice(2);
const CONTEXT = 8192;

const {getLlama, LlamaChat} = await import(pathToFileURL(`${folder}/node_modules/node-llama-cpp/dist/index.js`).href);
const llama = await getLlama({gpu: false, build: "never", logLevel: "error"});
const model = await llama.loadModel({modelPath: weights});
const sequence = (await model.createContext({contextSize: CONTEXT, threads: 1})).getSequence();
const chat = new LlamaChat({contextSequence: sequence});
let turn = Promise.resolve();

function said({role, content}) {
  return role === "assistant" ? {type: "model", response: [content]} : {type: role, text: content};
}

// So small a model does not come to an end by itself.
function shortened(schema) {
  if (Array.isArray(schema)) return schema.map(shortened);
  if (schema === null || typeof schema !== "object") return schema;
  const same = Object.fromEntries(Object.entries(schema).map(([name, part]) => [name, shortened(part)]));
  return schema.type === "string" && !schema.enum ? {...same, maxLength: 160} : same;
}

async function grammar(format) {
  if (format?.type === "json_schema") return await llama.createGrammarForJsonSchema(shortened(format.json_schema.schema));
  if (format?.type === "json_object") return await llama.getGrammarFor("json");
  return undefined;
}

async function complete(given, signal) {
  const before = sequence.tokenMeter.getState();
  const most = given.max_tokens ?? 256;
  const {response, metadata} = await chat.generateResponse([...given.messages.map(said), {type: "model", response: []}], {
    grammar: await grammar(given.response_format),
    maxTokens: most,
    temperature: given.temperature ?? 0.2,
    seed: 7,
    repeatPenalty: {lastTokens: 64, penalty: 1.1},
    signal,
  });
  const read = model.tokenize(given.messages.map((message) => message.content).join("\n")).length;
  const written = sequence.tokenMeter.diff(before).usedOutputTokens;
  return {
    id: "chatcmpl-1", object: "chat.completion", created: 1, model: given.model,
    choices: [{index: 0, message: {role: "assistant", content: response},
      finish_reason: metadata.stopReason === "maxTokens" ? "length" : "stop"}],
    usage: {prompt_tokens: read, completion_tokens: written, total_tokens: read + written},
  };
}

async function answer(request, response) {
  const gone = new AbortController();
  response.on("close", () => gone.abort(new Error("hung up")));
  let body = "";
  for await (const part of request) body += part;
  const began = performance.now();
  // Whoever comes while somebody is thought for waits for that to end.
  const before = turn;
  let end;
  turn = new Promise((resolve) => { end = resolve; });
  await before;
  let status = 200, told;
  try {
    gone.signal.throwIfAborted();
    told = await complete(JSON.parse(body), gone.signal);
  } catch (problem) {
    [status, told] = [400, {error: {message: String(problem?.message ?? problem), type: "invalid_request_error"}}];
  } finally {
    end();
  }
  const took = `${((performance.now() - began) / 1000).toFixed(1)} s`;
  const used = told.usage ? `${told.usage.prompt_tokens} tokens read, ${told.usage.completion_tokens} written` : told.error.message;
  process.stderr.write(`${gone.signal.aborted ? "hung up" : status}, ${took}: ${used}\n`);
  if (gone.signal.aborted) return;
  response.writeHead(status, {"Content-Type": "application/json"}).end(JSON.stringify(told));
}

const server = createServer((request, response) => void answer(request, response));
server.listen(0, "127.0.0.1", () => process.stdout.write(`${server.address().port}\n`));
