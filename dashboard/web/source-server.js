// Where the data comes from: the server that sent this page. source-static.js is its twin, for pages without a server.
"use strict";
{
  /** Fetch `path` below api/ as JSON. The address is relative: behind a proxy the page lives below a prefix. Throws an Error: its message says what to do, its `status` is that of HTTP. */
  async function get(path, params = {}, { signal } = {}) {
    const kept = Object.entries(params).filter(([, value]) => value !== null && value !== undefined && value !== "");
    const query = new URLSearchParams(kept).toString();
    let answer;
    try {
      answer = await fetch(`api/${path}${query && `?${query}`}`, { signal, credentials: "same-origin" });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Error("The server does not answer. Is sae-dashboard still running?");
    }
    const content = await answer
      .json()
      .catch(() => ({ error: `The server answered ${answer.status}, and not as it should.` }));
    if (answer.ok && !content.error) return content;
    const error = new Error(content.error);
    error.status = answer.status;
    throw error;
  }
  sae.source = { get, isStatic: false };
}
