// Shows the OpenAPI document with Swagger UI. The plugin makes the reference short,
// accessible and usable on a phone, and keeps the token for the session of the tab.
"use strict";

const SCHEME = "bearerAuth"; // the security scheme of the document
const STORED = "syncplane.token";

// sharedHeaders returns the headers that every response of the document has, as
// [name, description].
function sharedHeaders(document) {
  const resolve = (node) => (node?.$ref ? node.$ref.slice(2).split("/").reduce((at, key) => at?.[key], document) : node);
  let shared;
  for (const path of Object.values(document.paths ?? {})) {
    for (const operation of Object.values(path)) {
      for (const response of Object.values(operation.responses ?? {})) {
        const names = Object.keys(resolve(response)?.headers ?? {});
        shared = shared === undefined ? names : shared.filter((name) => names.includes(name));
      }
    }
  }
  return (shared ?? []).map((name) => [name, document.components?.headers?.[name]?.description ?? ""]);
}

function plugin(system) {
  const h = system.React.createElement;
  const list = (headers) => h("dl", null, headers.flatMap(([name, description]) => [
    h("dt", { key: name }, name),
    h("dd", { key: name + " description" }, (description ?? "").replaceAll("`", "")),
  ]));
  // code is a focusable frame that scrolls, with a button if the text can be copied.
  const code = (name, content, text) => h("div", null,
    h("div", { className: "code", tabIndex: 0, role: "group", "aria-label": name }, content),
    text ? h("button", { type: "button", className: "copy", onClick: () => navigator.clipboard.writeText(text) }, "Copy") : null);
  // named labels the field of a parameter, whose description begins with its name.
  const named = (Original) => (props) =>
    h("label", null, h("span", { className: "unseen" }, (props.description || "Value").split(" - ")[0]), h(Original, props));
  const shared = () => sharedHeaders(system.specSelectors.specJson().toJS());
  return {
    wrapComponents: {
      // There is one server, the one that serves the page.
      ServersContainer: () => () => null,

      // Headers of every response are described here, and not below each response.
      InfoContainer: (Original) => (props) =>
        h("div", null, h(Original, props), h("section", { className: "headers" }, h("h2", null, "Headers of every response"), list(shared()))),
      headers: () => ({ headers }) => {
        const names = shared().map(([name]) => name);
        const own = headers?.entrySeq().toArray().filter(([name]) => !names.includes(name)) ?? [];
        return own.length ? h("div", { className: "headers" }, h("h5", null, "Headers"), list(own.map(([name, header]) => [name, header.get("description")]))) : null;
      },

      // An error is one line until it is opened.
      response: (Original) => (props) => {
        if (!/^[45]/.test(props.code)) {
          return h(Original, props);
        }
        const text = (props.response.get("description") ?? "").replaceAll("`", "");
        return h("tr", { className: "error" },
          h("td", { colSpan: 3 },
            h("details", null,
              h("summary", null, h("b", null, props.code), " ", text),
              h("table", { className: "responses-table" }, h("tbody", null, h(Original, props))))));
      },

      // A link inside of the button that opens an operation cannot be reached.
      DeepLink: () => ({ text }) => h("span", null, text),

      // Names for what a screen reader announces.
      Button: (Original) => ({ "aria-label": _, ...props }) => h(Original, props), // the label would replace the visible text
      CloseIcon: (Original) => (props) => h("span", null, h("span", { className: "unseen" }, "Close"), h(Original, props)),
      // The button that opens a schema has its title as text, and a schema may have none.
      JSONSchema202012KeywordTitle: (Original) => (props) => h("div", null, h(Original, props), h("span", { className: "unseen" }, "Schema")),
      TextArea: (Original) => (props) => h(Original, { "aria-label": "Request body", ...props }),
      JsonSchema_string: named,
      JsonSchema_boolean: named,
      ExamplesSelect: (Original) => (props) => h("label", { className: "examples" }, h("span", { className: "unseen" }, "Example"), h(Original, props)),
      HighlightCode: (Original) => (props) => code("Example or body", h(Original, { ...props, canCopy: false }), props.canCopy && props.children),
      curl: () => ({ request }) => {
        const command = system.fn.requestSnippetGenerator_curl_bash(request);
        return h("div", null, h("h4", null, "Curl"), code("Command", h("pre", { className: "microlight" }, command), command));
      },
    },
    statePlugins: {
      auth: {
        wrapActions: {
          authorize: (original) => (payload) => {
            if (payload[SCHEME]?.value) {
              sessionStorage.setItem(STORED, payload[SCHEME].value);
            }
            return original(payload);
          },
          logout: (original) => (names) => {
            sessionStorage.removeItem(STORED);
            return original(names);
          },
        },
      },
    },
  };
}

const ui = SwaggerUIBundle({
  url: "/api/v1/openapi.json",
  dom_id: "#page",
  deepLinking: true,
  validatorUrl: null,
  defaultModelsExpandDepth: -1,
  defaultModelExpandDepth: 2,
  displayRequestDuration: true,
  syntaxHighlight: false,
  plugins: [plugin],
  onComplete() {
    const token = sessionStorage.getItem(STORED);
    if (token) {
      ui.preauthorizeApiKey(SCHEME, token);
    }
  },
});
