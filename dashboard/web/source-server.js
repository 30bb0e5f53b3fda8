// Where the data comes from: the server that sent this page. source-static.js is its twin, for pages without a server.
"use strict";
{
  /** Fetch `path` below api/ as JSON; see `ask`. */
  function get(path, params = {}, { signal } = {}) {
    const of = sae.shownSae(); // an address of the page names the SAE, ?sae=...#/documents
    const kept = Object.entries({ ...(of ? { sae: of } : {}), ...params }).filter(([, value]) => value !== null && value !== undefined && value !== "");
    const query = new URLSearchParams(kept).toString();
    return ask(`api/${path}${query && `?${query}`}`, { signal });
  }

  /** Ask the service, where it is there: send("v1/jobs", "POST", {...}); see `ask`. */
  const send = (address, method = "GET", body = undefined) =>
    ask(address, { method, headers: { "Content-Type": "application/json" }, body: body && JSON.stringify(body) });

  /** The JSON at an address, which is relative: behind a proxy the page lives below a prefix. Throws an Error: its message says what to do, its `status` is that of HTTP. */
  async function ask(address, options) {
    let answer;
    try {
      answer = await fetch(address, { credentials: "same-origin", ...options });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Error("The server does not answer. Is sae-dashboard still running?");
    }
    const content = await answer.json().catch(() => null);
    if (answer.ok && content) return content;
    const error = new Error(
      content?.error ?? content?.detail ?? `The server answered ${answer.status}, and not as it should.`,
    );
    error.status = answer.status;
    throw error;
  }
  sae.source = { get, send, isStatic: false };
}
