// Where the data comes from: the server that sent this page. source-static.js is its twin, for pages without a server.
"use strict";
{
  /** Ask for `path` below /api; the answer as JSON. Throws an Error whose message says what to do; .status is HTTP's. */
  async function get(path, params = {}, { signal } = {}) {
    const kept = Object.entries(params).filter(([, value]) => value !== null && value !== undefined && value !== "");
    const query = new URLSearchParams(kept).toString();
    let answer;
    try {
      answer = await fetch(`/api/${path}${query && `?${query}`}`, { signal, credentials: "same-origin" });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Error("The server does not answer. Is sae-dashboard still running?");
    }
    const told = await answer
      .json()
      .catch(() => ({ error: `The server answered ${answer.status}, and not as it should.` }));
    if (answer.ok && !told.error) return told;
    const error = new Error(told.error);
    error.status = answer.status;
    throw error;
  }
  sae.source = { get, isStatic: false };
}
