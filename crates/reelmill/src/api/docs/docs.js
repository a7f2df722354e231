// Shows the OpenAPI document and sends requests. Everything that comes from
// the server is put in as text, never as HTML.
"use strict";

const make = (tag, text, into) => {
  const element = document.createElement(tag);
  if (text) element.textContent = text;
  if (into) into.append(element);
  return element;
};

const field = (form, name, hint, tag = "input") => {
  const label = make("label", "", form);
  make("span", name, label);
  const input = make(tag, "", label);
  input.name = name;
  if (hint) make("small", hint, label);
  return input;
};

// The schema that a reference leads to, with its own references left.
const follow = (api, schema) => {
  const path = schema && schema.$ref;
  return path ? path.slice(2).split("/").reduce((at, part) => at[part], api) : schema;
};

// An example of a schema: its required fields.
const example = (api, given, depth = 0) => {
  const schema = follow(api, given) || {};
  const choice = schema.oneOf || schema.anyOf;
  if (choice && depth < 6) return example(api, choice[0], depth + 1);
  if (schema.enum) return schema.enum[0];
  if (schema.const !== undefined) return schema.const;
  const type = [].concat(schema.type || "object")[0];
  if (type === "object") {
    const result = {};
    for (const name of schema.required || []) {
      result[name] = depth < 6 ? example(api, (schema.properties || {})[name], depth + 1) : null;
    }
    return result;
  }
  return { string: "", integer: schema.minimum || 0, number: schema.minimum || 0, boolean: false, array: [] }[type] ?? null;
};

const send = async (form, method, path, parameters, kind, output) => {
  const query = new URLSearchParams();
  const headers = {};
  const key = document.getElementById("key").value.trim();
  if (key) headers["Authorization"] = `Bearer ${key}`;
  for (const parameter of parameters) {
    const value = form.elements[parameter.name].value;
    if (parameter.in === "path") path = path.replace(`{${parameter.name}}`, encodeURIComponent(value));
    if (value === "") continue;
    if (parameter.in === "query") query.set(parameter.name, value);
    if (parameter.in === "header") headers[parameter.name] = value;
  }
  const body = kind ? form.elements["body"].value : undefined;
  if (kind) headers["Content-Type"] = kind;
  const url = query.size ? `${path}?${query}` : path;
  output.textContent = "…";
  try {
    const response = await fetch(url, { method, headers, body });
    const text = await response.text();
    let shown = text.slice(0, 100000);
    try { shown = JSON.stringify(JSON.parse(text), null, 1); } catch { /* as it is */ }
    const told = [...response.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
    output.textContent = `${response.status} ${response.statusText}\n${told}\n\n${shown}`;
  } catch (error) {
    output.textContent = `No answer: ${error.message}`;
  }
};

const show = (api, path, method, operation) => {
  const box = make("details");
  const summary = make("summary", "", box);
  make("b", method.toUpperCase(), summary);
  make("code", path, summary);
  make("span", ` ${operation.summary}`, summary);
  make("p", `For: ${operation["x-role"]}. Answers: ${Object.keys(operation.responses).join(", ")}`, box);
  const form = make("form", "", box);
  const parameters = operation.parameters || [];
  for (const parameter of parameters) {
    const must = parameter.required ? " (needed)" : "";
    field(form, parameter.name, `${parameter.in}${must}: ${parameter.description || ""}`);
  }
  const content = operation.requestBody ? operation.requestBody.content : {};
  const kind = Object.keys(content)[0];
  if (kind) {
    const input = field(form, "body", kind, "textarea");
    if (kind.includes("json")) input.value = JSON.stringify(example(api, content[kind].schema), null, 1);
  }
  make("button", "Send", form);
  const output = make("pre", "", box);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send(form, method.toUpperCase(), path, parameters, kind, output);
  });
  return box;
};

const start = async () => {
  const api = await (await fetch("/api/v1/openapi.json")).json();
  const groups = new Map();
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const tag = operation.tags[0];
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(show(api, path, method, operation));
    }
  }
  const main = document.getElementById("operations");
  main.replaceChildren();
  for (const [tag, boxes] of [...groups].sort()) {
    const section = make("section", "", main);
    make("h2", tag.replaceAll("_", " "), section);
    section.append(...boxes);
  }
  document.getElementById("find").addEventListener("input", (event) => {
    const wanted = event.target.value.toLowerCase();
    for (const section of main.children) {
      const boxes = [...section.querySelectorAll("details")];
      for (const box of boxes) {
        box.hidden = !box.firstChild.textContent.toLowerCase().includes(wanted);
      }
      section.hidden = boxes.every((box) => box.hidden);
    }
  });
};

start().catch((error) => {
  document.getElementById("operations").textContent = `Cannot load the document: ${error.message}`;
});
