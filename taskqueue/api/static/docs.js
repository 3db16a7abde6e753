"use strict";
// Draws the OpenAPI document beside this page, and sends requests to the service that it came from.
// Text of the document and of answers is only ever set as text, never read as HTML.

const LONGEST_SHOWN = 200_000; // characters of an answer
const METHODS = ["get", "post", "put", "patch", "delete"];
const base = new URL(".", location.href);
let api = {};

function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children.filter((child) => child !== null && child !== ""));
  return made;
}

// `code` and **strong** of a description.
function rich(text = "") {
  return text.split(/(`[^`]+`|\*\*[^*]+\*\*)/).map((part) => {
    if (part.startsWith("`")) return make("code", {}, part.slice(1, -1));
    if (part.startsWith("**")) return make("strong", {}, part.slice(2, -2));
    return part;
  });
}

// Filled when it is opened for the first time: the whole document at once would be long.
function folded(className, summary, fill) {
  const body = make("div");
  const made = make("details", { className }, make("summary", {}, ...summary), body);
  made.addEventListener("toggle", () => body.append(...fill()), { once: true });
  return made;
}

function found(part) {
  if (!part || !part.$ref) return part || {};
  return part.$ref.slice(2).split("/").reduce((inside, name) => inside[name], api);
}

// ------------------------------------------------------------------------------------- schemas

function typeOf(schema) {
  if (schema.$ref) return schema.$ref.split("/").pop();
  if ("const" in schema) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (schema.type === "array") return `array of ${typeOf(schema.items || {})}`;
  const several = schema.oneOf || schema.anyOf || schema.allOf;
  if (several && !schema.properties) return several.map(typeOf).join(schema.allOf ? " & " : " | ");
  return [].concat(schema.type || "any").join(" | ");
}

function rulesOf(schema) {
  const names = ["format", "pattern", "minLength", "maxLength", "minimum", "maximum", "minItems", "maxItems", "default"];
  const rules = names.filter((name) => name in schema).map((name) => `${name} ${JSON.stringify(schema[name])}`);
  const choices = (schema.anyOf || []).map((choice) => choice.required);
  if (choices.length && choices.every(Boolean)) {
    rules.push(`needs ${choices.map((names) => names.join(" and ")).join(", or ")}`);
  }
  return rules.join(", ");
}

function outline(part) {
  const schema = found(part);
  const rows = Object.entries(schema.properties || {}).map(([name, inner]) => row(name, inner, schema.required));
  if (schema.items) rows.push(row("each item", schema.items));
  if (!schema.properties) {
    for (const choice of schema.oneOf || schema.anyOf || schema.allOf || []) rows.push(row("", choice));
  }
  const told = [rulesOf(schema), schema.description].filter(Boolean).join("; ");
  return [told ? make("p", { className: "told" }, ...rich(told)) : "", make("ul", { className: "schema" }, ...rows)];
}

function row(name, part, required = []) {
  const schema = found(part);
  const type = make("span", { className: "type" }, ` ${typeOf(part)}${required.includes(name) ? ", required" : ""}`);
  const head = [make("code", {}, name), type];
  const isDeep = schema.properties || schema.items || schema.oneOf || schema.allOf;
  if (isDeep) return make("li", {}, folded("", head, () => outline(part)));
  const told = [rulesOf(schema), schema.description].filter(Boolean).join("; ");
  return make("li", {}, ...head, told ? make("span", { className: "told" }, "; ", ...rich(told)) : "");
}

// A value that fits: what the document has for an example, else what is required and nothing more.
function sample(part, depth = 0) {
  const schema = found(part);
  if (schema.examples) return schema.examples[0];
  for (const name of ["example", "const", "default"]) if (name in schema) return schema[name];
  if (schema.enum) return schema.enum[0];
  if (depth > 8) return null;
  if (schema.oneOf && !schema.properties) return sample(schema.oneOf[0], depth + 1);
  if (schema.properties) {
    const names = (schema.required || []).filter((name) => name in schema.properties);
    return Object.fromEntries(names.map((name) => [name, sample(schema.properties[name], depth + 1)]));
  }
  if (schema.type === "array") return [sample(schema.items, depth + 1)];
  return { integer: schema.minimum || 0, number: 0, boolean: true, object: {}, string: "text" }[schema.type] ?? null;
}

// An example that is sent must call nobody's webhook, and be good for a second time.
function harmless(value) {
  if (Array.isArray(value)) return value.map(harmless);
  if (value === null || typeof value !== "object") return value;
  const kept = Object.entries(value).filter(([name]) => name !== "webhook" && name !== "idempotencyKey");
  return Object.fromEntries(kept);
}

// ------------------------------------------------------------------------------------- requests

function fieldOf(parameter) {
  const schema = found(parameter.schema);
  const values = schema.enum || [];
  const made = values.length
    ? make("select", {}, ...["", ...values].map((value) => make("option", { value }, value)))
    : make("input", { placeholder: String(schema.default ?? schema.pattern ?? "") });
  made.name = parameter.name;
  const told = [parameter.required ? "required" : "", parameter.description || ""].filter(Boolean).join("; ");
  return make("label", {}, make("code", {}, parameter.name), " ", make("span", { className: "told" }, ...rich(told)), made);
}

function bodyFields(media) {
  const schema = found(media.schema);
  const first = schema.oneOf || !media.example ? sample(media.schema) : media.example;
  const text = make("textarea", { name: "body", spellcheck: false, value: pretty(harmless(first)) });
  const fields = [make("label", {}, "Body", text)];
  if (schema.oneOf) {
    const options = schema.oneOf.map((choice, number) => make("option", { value: number }, typeOf(choice)));
    const choice = make("select", {}, ...options);
    choice.addEventListener("change", () => (text.value = pretty(harmless(sample(schema.oneOf[choice.value])))));
    fields.unshift(make("label", {}, "Example", choice));
  }
  return fields;
}

function pretty(value) {
  return JSON.stringify(value, null, 2);
}

function requestOf(form, path, method, parameters, isGuarded) {
  const query = new URLSearchParams();
  let place = path;
  for (const { name, in: where, required } of parameters) {
    const value = form.elements[name].value.trim();
    if (required && !value) throw new Error(`${name} is missing`);
    if (where === "path") place = place.replace(`{${name}}`, encodeURIComponent(value));
    else if (value) query.append(name, value);
  }
  const url = new URL(place.slice(1) + (`${query}` ? `?${query}` : ""), base);
  const key = document.getElementById("key").value.trim();
  const headers = {};
  if (isGuarded && !key) throw new Error("this needs an API key: there is a field for it at the top");
  if (isGuarded) headers.Authorization = `Bearer ${key}`;
  const body = form.elements.body?.value;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  return { url, options: { method: method.toUpperCase(), headers, body, credentials: "omit", cache: "no-store" } };
}

function curlOf({ url, options }) {
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const words = ["curl", "-s", "-X", options.method, quoted(url.href)];
  if (options.headers.Authorization) words.push("-H", '"Authorization: Bearer $KEY"');
  if (options.body !== undefined) words.push("-H", quoted("Content-Type: application/json"), "-d", quoted(options.body));
  return words.join(" ");
}

async function send(request, shown, signal) {
  const began = performance.now();
  const answer = await fetch(request.url, { ...request.options, signal });
  const took = Math.round(performance.now() - began);
  const className = answer.ok ? "good" : "bad";
  const text = make("pre");
  const headers = [...answer.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
  shown.append(
    make("p", { className }, `${answer.status} ${answer.statusText}, ${took} ms`),
    make("details", {}, make("summary", {}, "headers"), make("pre", {}, headers)),
    text,
  );
  // As it comes: a stream of events does not end by itself.
  let whole = "";
  if (answer.body) {
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let part = await reader.read(); !part.done && whole.length < LONGEST_SHOWN; part = await reader.read()) {
      whole += part.value;
      text.textContent = whole;
    }
    await reader.cancel();
  }
  if (whole.length >= LONGEST_SHOWN) text.textContent = `${whole.slice(0, LONGEST_SHOWN)}\n...`;
  else if ((answer.headers.get("content-type") || "").startsWith("application/json")) text.textContent = pretty(JSON.parse(whole));
}

function tryIt(path, method, operation, parameters) {
  const media = found(operation.requestBody).content?.["application/json"];
  const shown = make("div");
  const stop = make("button", { type: "button", hidden: true }, "Stop");
  const form = make(
    "form",
    { noValidate: true },
    ...parameters.map(fieldOf),
    ...(media ? bodyFields(media) : []),
    make("button", {}, "Send"),
    stop,
  );
  let running = new AbortController();
  stop.addEventListener("click", () => running.abort());
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    running.abort();
    const mine = (running = new AbortController());
    shown.replaceChildren();
    try {
      const request = requestOf(form, path, method, parameters, isGuarded(operation));
      shown.append(make("pre", { className: "dim" }, curlOf(request)));
      stop.hidden = false;
      await send(request, shown, mine.signal);
    } catch (error) {
      if (!mine.signal.aborted) shown.append(make("p", { className: "bad" }, `Not sent, or cut off: ${error.message}`));
    } finally {
      if (mine === running) stop.hidden = true;
    }
  });
  return [form, shown];
}

// ------------------------------------------------------------------------------------- operations

function isGuarded(operation) {
  return (operation.security || api.security || []).length > 0;
}

function responsesOf(operation) {
  return Object.entries(operation.responses).map(([status, part]) => {
    const told = found(part);
    return folded("", [make("strong", {}, status), ` ${told.description}`], () => [
      ...Object.entries(told.content || {}).flatMap(([kind, media]) => [
        make("p", {}, make("code", {}, kind), ` ${typeOf(media.schema || {})}`),
        ...outline(media.schema),
      ]),
      make("p", { className: "dim" }, Object.keys(told.headers || {}).join(", ")),
    ]);
  });
}

function operationOf(path, method, operation, shared) {
  const parameters = [...(shared || []), ...(operation.parameters || [])].map(found);
  const summary = [
    make("span", { className: "method" }, method.toUpperCase()),
    make("code", { className: operation.deprecated ? "old" : "" }, path),
    make("span", { className: "told" }, ` ${operation.summary || ""}${isGuarded(operation) ? "" : " (no key)"}`),
  ];
  return folded("operation", summary, () => {
    const media = found(operation.requestBody).content?.["application/json"];
    return [
      operation.description ? make("p", {}, ...rich(operation.description)) : "",
      ...tryIt(path, method, operation, parameters),
      ...(media ? [make("h3", {}, "Body"), make("p", {}, typeOf(media.schema)), ...outline(media.schema)] : []),
      make("h3", {}, "Answers"),
      ...responsesOf(operation),
    ];
  });
}

async function draw() {
  const place = document.getElementById("operations");
  try {
    const answer = await fetch(new URL("openapi.json", base), { cache: "no-store" });
    if (!answer.ok) throw new Error(`openapi.json answered ${answer.status}`);
    api = await answer.json();
  } catch (error) {
    place.append(make("p", { className: "bad" }, `The document could not be read: ${error.message}`));
    return;
  }
  document.title = api.info.title;
  document.getElementById("title").replaceChildren(api.info.title, " ", make("small", {}, api.info.version));
  document.getElementById("about").replaceChildren(...rich(api.info.description));
  const operations = Object.entries(api.paths).flatMap(([path, item]) =>
    METHODS.filter((method) => item[method]).map((method) => ({ path, method, item, operation: item[method] })),
  );
  const tags = new Set([...(api.tags || []).map((tag) => tag.name), ...operations.map((each) => each.operation.tags?.[0])]);
  for (const tag of tags) {
    const mine = operations.filter((each) => each.operation.tags?.[0] === tag);
    if (!mine.length) continue;
    place.append(make("h2", {}, tag || "others"));
    place.append(...mine.map(({ path, method, item, operation }) => operationOf(path, method, operation, item.parameters)));
  }
}

draw();
