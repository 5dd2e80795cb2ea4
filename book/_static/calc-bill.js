// "Your bill": five numbers, or a request log that is read in the page and goes nowhere else.
"use strict";

{
  const { data, SPECS, parse, h, frame, figure, dollars, range, priceNote, start } = window.costlab;

  const COLUMNS = data.columns;  // names, without case and signs, as the logs of several services write them
  const MOST_BYTES = 50e6, HOUR = 3600;

  const cells = (line, sign) => line.split(sign).map((cell) => cell.trim().replace(/^"(.*)"$/, "$1"));

  function tokens(text, name, line, least) {
    const value = parse(text ?? "");
    if (value === null || value < least || value > 1e7) {
      throw new Error(`Line ${line}: ${name} must be a number from ${least} to 10,000,000, and “${(text ?? "").slice(0, 30)}” is not.`);
    }
    return value;
  }

  // Seconds, from a number of seconds or milliseconds or a date.
  function moment(text, milliseconds, line) {
    const value = /^\d+(\.\d+)?$/.test(text) ? Number(text) * (milliseconds || Number(text) > 1e11 ? 0.001 : 1) : Date.parse(text) / 1000;
    if (!Number.isFinite(value)) throw new Error(`Line ${line}: the time must be a number of seconds or a date, and “${text.slice(0, 30)}” is neither.`);
    return value;
  }

  // The five numbers of a log; an Error with a sentence where it cannot be read.
  function readLog(text) {
    if (text.length > MOST_BYTES) throw new Error("The log must be at most 50 MB: a day, or a sample of its lines, is enough.");
    const lines = text.split(/\r?\n/), head = lines.findIndex((line) => line.trim());
    if (head < 0) throw new Error("The log is empty: paste a line of column names, then a line for each request.");
    const sign = ["\t", ";", ","].find((one) => lines[head].includes(one)) ?? ",";
    const names = cells(lines[head], sign).map((name) => name.toLowerCase().replace(/[^a-z]/g, ""));
    const at = Object.fromEntries(Object.entries(COLUMNS).map(([what, known]) => [what, names.findIndex((name) => known.includes(name))]));
    for (const what of ["prompt", "generate"]) {
      if (at[what] < 0) throw new Error(`The first line must name a column of tokens ${what === "prompt" ? "read, such as prompt_tokens" : "written, such as output_tokens"}.`);
    }
    let requests = 0, prompt = 0, generate = 0, cached = 0;
    const times = [];
    for (let i = head + 1; i < lines.length; i++) {
      if (!lines[i].trim()) continue;
      const row = cells(lines[i], sign);
      requests += 1;
      const read = tokens(row[at.prompt], "tokens read", i + 1, 1);
      prompt += read;
      generate += tokens(row[at.generate], "tokens written", i + 1, 0);
      if (at.cached >= 0) cached += Math.min(read, tokens(row[at.cached] || "0", "tokens cached", i + 1, 0));
      if (at.time >= 0) times.push(moment(row[at.time] ?? "", names[at.time].endsWith("milliseconds"), i + 1));
    }
    if (!requests) throw new Error("The log holds column names alone: add a line for each request.");
    return { requests, ...spread(times, requests), prompt: Math.round(prompt / requests),
      generate: Math.max(1, Math.round(generate / requests)), shared: at.cached < 0 ? null : cached / prompt };
  }

  // Requests a day, and the busiest hour over the mean one, from the times of requests.
  function spread(times, requests) {
    let first = Infinity, last = -Infinity;
    for (const time of times) { first = Math.min(first, time); last = Math.max(last, time); }
    const hours = (last - first) / HOUR;
    if (!(hours > 0)) return { requests_per_day: requests, hours: null, peak: null };
    const counts = new Map();
    for (const time of times) counts.set(Math.floor((time - first) / HOUR), (counts.get(Math.floor((time - first) / HOUR)) ?? 0) + 1);
    const busiest = Math.max(...counts.values());
    return { requests_per_day: requests / hours * 24, hours, peak: hours < 2 ? null : Math.max(1, busiest / (requests / hours)) };
  }

  const tidy = (value) => String(Number(value.toPrecision(4)));

  function pasting(one) {
    const fault = h("p", { class: "fault", id: "bill-log-fault", "aria-live": "polite" }), told = h("p", { class: "told", role: "status" });
    const area = h("textarea", { id: "bill-log", rows: 4, spellcheck: "false", autocomplete: "off", "aria-describedby": "bill-log-fault bill-log-told",
      placeholder: "timestamp,prompt_tokens,output_tokens" });
    told.id = "bill-log-told";
    const take = (text) => {
      fault.textContent = told.textContent = "";
      area.removeAttribute("aria-invalid");
      if (!text.trim()) return;
      try {
        const log = readLog(text), set = (name, value) => { one.parts[name].input.value = tidy(value); one.slide(name); };
        for (const name of ["requests_per_day", "prompt", "generate"]) set(name, log[name]);
        for (const name of ["peak", "shared"]) if (log[name] !== null) set(name, log[name]);
        told.textContent = `${log.requests.toLocaleString("en-US")} requests ${log.hours === null ? "without usable times, taken as one day" : `over ${figure(log.hours)} hours`}: the fields below now hold their means${log.peak === null ? "; how busy the busiest hour is, the log does not say" : ""}${log.shared === null ? "; what prompts share, it does not say" : ""}.`;
        one.update();
      } catch (error) {
        fault.textContent = error.message;
        area.setAttribute("aria-invalid", "true");
      }
    };
    area.addEventListener("input", () => take(area.value));
    const file = h("input", { id: "bill-file", type: "file", accept: ".csv,.tsv,.txt,text/*" });
    file.addEventListener("change", async () => { if (file.files[0]) take(await file.files[0].text()); });
    return h("div", { class: "pasting" },
      h("div", { class: "field" }, h("label", { for: "bill-log" }, "Paste a request log (CSV, with a line of column names)"), area, fault, told),
      h("div", { class: "field" }, h("label", { for: "bill-file" }, "Or open one from this machine; it is read here and sent nowhere"), file));
  }

  const chapters = JSON.parse(document.getElementById("calculator-chapters")?.textContent ?? "{}");
  const days = (value) => value < 1.5 ? "a day" : value < 60 ? `${Math.round(value)} days` : `${figure(value / 730 * 24)} months`;

  const called = ({ name, picked }) => name === "smaller" ? data.models[picked].name
    : name === "chip" ? data.chips[picked].name : `${picked} (${data.apis[picked].provider})`;

  function ranked(levers) {
    if (!levers.length) return h("p", {}, "None of the levers known here saves anything at this load: the fewest devices serve it already, or nothing is cheaper.");
    return h("ol", { class: "levers" }, ...levers.map((lever) => h("li", {},
      h("p", { class: "lever" }, h("strong", {}, `${lever.label}${lever.picked ? `: ${called(lever)}` : ""}`), h("span", { class: "saved" }, `▼ ${dollars(lever.saved)} a month`)),
      h("p", { class: "detail" }, `Then ${dollars(lever.dollars)} a month. Risk: ${lever.risk}; ${lever.why}. Assumed work: ${lever.days} days, earned back in ${days(lever.payback_days)}.`,
        Object.hasOwn(chapters, lever.chapter) ? h("span", {}, " See ", h("a", { href: `../notebooks/${lever.chapter}.html` }, chapters[lever.chapter]), ".") : null))));
  }

  SPECS.bill = {
    title: "your bill, a month", before: pasting,
    fields: ["requests_per_day", "prompt", "generate", "shared", "peak", "pays", "model", "chip", "api", "price", "slo_ttft", "slo_tpot", "day_rate"],
    defaults: { requests_per_day: 1e6, prompt: 1500, generate: 300, shared: 0.4, peak: 2.5, pays: "rent", model: "llama-3.1-70b", chip: "h100-sxm", api: "gpt-4o-mini", price: null, slo_ttft: null, slo_tpot: null, day_rate: 800 },
    show({ today, levers }, v) {
      if (!today) return { answer: "No price is known, or no layout keeps such a promise: choose another accelerator, a smaller model, or promise less.", lines: [["your bill", "cannot be served", "total"]] };
      const best = levers[0];
      return {
        answer: `Today ${dollars(today[0])}${range(dollars, today[1], today[2])} a month.${best ? ` The largest lever: ${best.label.toLowerCase()}, ${dollars(best.saved)} less.` : ""}`,
        lines: [["requests a month", figure(v.requests_per_day * 730 / 24)], ["tokens read a month", figure(v.requests_per_day * 730 / 24 * v.prompt)],
          ["tokens written a month", figure(v.requests_per_day * 730 / 24 * v.generate)], ["a thousand requests", dollars(today[0] / v.requests_per_day / 730 * 24 * 1000)],
          ["today's bill", dollars(today[0]), "total"], ...(today[1] === today[2] ? [] : [["80 % range", `${dollars(today[1])} to ${dollars(today[2])}`]]),
          ...levers.map((lever) => [lever.label, `▼ ${dollars(lever.saved)}`, "saved"])],
        foot: `${v.pays === "rent" ? `Whole replicas in 16 bits for the busiest hour. ${priceNote(v)}` : `At today's list price of ${v.api}.`} Levers overlap: pull one, then ask again.`,
        more: [h("h3", {}, "What would lower it, by dollars"), ranked(levers)],
      };
    },
  };

  Object.assign(window.costlab, { readLog });
  start();
}
