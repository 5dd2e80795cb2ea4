// Calculators as forms: fields with sliders, an answer that follows them, the formulas used, a link that holds the
// values. Text that a reader typed or pasted is only ever set as text.
"use strict";

{
  const { data, Fault } = window.costlab;

  // --- words and figures

  const figure = (value) => value === null || value === undefined ? "unknown" : !Number.isFinite(value) ? "without end"
    : value !== 0 && Math.abs(value) < 0.001 ? value.toExponential(1)
    : Math.abs(value) >= 100 ? Math.round(value).toLocaleString("en-US") : String(Number(value.toPrecision(3)));
  const SHORT = [["T", 1e12], ["B", 1e9], ["M", 1e6], ["k", 1e3]];
  function short(value) {
    const [letter, size] = SHORT.find(([, size]) => Math.abs(value) >= size) ?? ["", 1];
    return figure(value / size) + letter;
  }
  const dollars = (value) => value === null || value === undefined ? "unknown" : value >= 1e6 ? `$${short(value)}` : `$${figure(value)}`;
  const range = (show, low, high) => low === high || low === null ? "" : ` (${show(low)} to ${show(high)})`;
  const seconds = (value) => !Number.isFinite(value) ? "without end" : value < 1 ? `${figure(value * 1000)} ms` : `${figure(value)} s`;
  const percent = (value) => Number.isFinite(value) && value < 1e6 ? `${figure(value * 100)} %` : "far too much";

  // A number as people write it: 15T, 2.5e3, 1,000, 40%; null where it is none.
  function parse(text) {
    const match = /^(\d*\.?\d+|\d+\.)(e[+-]?\d+)?\s*([kmbgt%])?$/i.exec(text.trim().replace(/[,_\s](?=\d)/g, ""));
    if (!match) return null;
    const letter = (match[3] ?? "").toUpperCase();
    const times = letter === "%" ? 0.01 : SHORT.find(([known]) => known === (letter === "G" ? "B" : letter))?.[1] ?? 1;
    return Number(match[1] + (match[2] ?? "")) * times;
  }
  const quoted = (text) => `“${text.length > 30 ? `${text.slice(0, 30)}…` : text}”`;

  // An element with attributes and children; strings become text, never markup.
  function h(tag, given = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(given)) {
      if (value === false || value === undefined) continue;
      if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
      else made.setAttribute(name, value === true ? "" : value);
    }
    made.append(...children.filter((child) => child !== null));
    return made;
  }

  // --- fields

  const count = (label, most, options = {}) => ({ label, least: 1, most, whole: true, ...options });
  const amount = (label, most, options = {}) => ({ label, least: 0, most, ...options });
  const choice = (label, known, options = {}) => ({ label, known, ...options });
  const named = (table) => Object.entries(table).map(([id, { name }]) => [id, name]);
  const same = (...values) => values.map((value) => [value, String(value)]);

  const FIELDS = {
    model: choice("Model", named(data.models)),
    stored: choice("Model whose weights are kept", [["none", "none"], ...named(data.models)], { as: "model" }),
    chip: choice("Accelerator", named(data.chips)),
    devices: count("Devices", 1e6, { doubling: 14 }),
    tensor: count("Devices that share a layer (tensor)", 4096, { doubling: 6 }),
    pipeline: count("Stages (pipeline)", 4096, { doubling: 7 }),
    context: count("Devices that share a sequence (context)", 4096, { doubling: 5 }),
    expert: count("Devices that share the experts (expert)", 4096, { doubling: 6 }),
    zero: choice("What replicas share (ZeRO)", [[0, "nothing"], [1, "the optimizer"], [2, "gradients too"], [3, "weights too"]]),
    micro_batch: count("Sequences at once (micro-batch)", 1e5, { doubling: 6 }),
    global_batch: count("Sequences in a step", 1e7, { doubling: 14, optional: "8 micro-batches a replica or more" }),
    sequence: count("Tokens in a sequence", 1e7, { slide: [128, 131072] }),
    precision: choice("Precision of the products", same("bf16", "fp16", "fp8", "fp4", "tf32", "fp32")),
    recompute: choice("Computed again on the way back", [["none", "nothing"], ["selective", "attention"], ["full", "every layer"]]),
    adapters: { label: "Rank of adapters (0: train everything)", least: 0, most: 1e5, whole: true },
    tokens: amount("Tokens of the run", 1e18, { above: true, slide: [1e8, 1e14] }),
    price: amount("Dollars per device-hour", 1e6, { above: true, optional: "the catalog's median" }),
    weight_bits: choice("Bits of a weight", same(16, 8, 4)),
    kv_bits: choice("Bits of a number in the cache", same(16, 8)),
    prompt: count("Tokens read by a request", 1e7, { slide: [10, 100000] }),
    generate: count("Tokens written by a request", 1e7, { slide: [1, 10000] }),
    rate: amount("Requests a second", 1e9, { above: true, slide: [0.01, 1000] }),
    cached_share: amount("Share of the prompt in a cache", 1, { share: true }),
    slo_ttft: amount("Promised seconds to the first token, p95", 1e6, { above: true, optional: "no promise" }),
    slo_tpot: amount("Promised seconds per further token, p95", 1e6, { above: true, optional: "no promise" }),
    bits: choice("Bits of a code", same(8, 6, 5, 4, 3)),
    group: choice("Weights that share a scale", [[0, "a row of the matrix"], ...same(256, 128, 64, 32, 16)]),
    data_gb: amount("Corpus and logs, GB", 1e12, { slide: [1, 1e6] }),
    copies: { label: "Sets of weights to serve from", least: 0, most: 1e6, whole: true },
    checkpoint_bytes: amount("Bytes a parameter in a checkpoint", 64, { above: true }),
    checkpoints_per_day: amount("Checkpoints a day", 1e5, {}),
    retention_days: amount("Days for which each is kept", 1e5, { slide: [1, 365] }),
    reads_gb: amount("GB read back a month", 1e12, {}),
    egress_gb: amount("GB sent to the internet a month", 1e12, {}),
    api: choice("Interface", Object.entries(data.apis).map(([id, { provider }]) => [id, `${id} (${provider})`])),
    bytes_per_token: amount("Bytes of text a token of your model stands for", 1e4, { above: true }),
    api_bytes_per_token: amount("Bytes of text a token of theirs stands for", 1e4, { above: true }),
    pays: choice("How you pay today", [["rent", "rented accelerators, by the hour"], ["call", "an interface, by the token"]]),
    requests_per_day: amount("Requests a day", 1e12, { above: true, slide: [100, 1e9] }),
    shared: amount("Share of a prompt that others begin with too", 1, { share: true }),
    peak: { label: "Busiest hour over the mean hour", least: 1, most: 1000 },
    day_rate: amount("Dollars that a day of work costs", 1e6, { above: true }),
  };

  // The value of a field from its text, or a sentence that says what is accepted.
  function read(field, text) {
    if (field.known) {
      const found = field.known.find(([value]) => String(value) === text);
      return found ? { value: found[0] } : { fault: `${field.label} must be one of the list, and ${quoted(text)} is not.` };
    }
    if (!text.trim() && field.optional) return { value: null };
    const value = parse(text), kind = field.whole ? "a whole number" : "a number";
    const from = field.above ? `above ${field.least}, at most` : `from ${field.least.toLocaleString("en-US")} to`;
    const ok = value !== null && (field.above ? value > field.least : value >= field.least) && value <= field.most
      && (!field.whole || Number.isInteger(value));
    if (ok) return { value };
    const given = text.trim() ? `${quoted(text.trim())} is not` : "nothing was given";
    return { fault: `${field.label} must be ${kind} ${from} ${field.most.toLocaleString("en-US")}, and ${given}.` };
  }

  // Where a slider of 0 to 1000 stands for a value, and back: even steps in logarithms, whole doublings, or a share.
  const scale = {
    most: (field) => field.doubling ?? (field.share ? 100 : 1000),
    at: (field, value) => field.doubling ? Math.log2(value) : field.share ? value * 100
      : 1000 * Math.log(value / field.slide[0]) / Math.log(field.slide[1] / field.slide[0]),
    value(field, at) {
      if (field.doubling) return 2 ** at;
      if (field.share) return at / 100;
      return Number((field.slide[0] * (field.slide[1] / field.slide[0]) ** (at / 1000)).toPrecision(2));
    },
  };
  const written = (field, value) => value === null ? "" : value >= 1e6 && field.slide ? short(value) : String(value);

  // --- one calculator

  class Calculator {
    constructor(place, spec) {
      Object.assign(this, { place, spec, name: place.dataset.calculator, parts: {} });
      this.defaults = spec.defaults;
      this.answer = h("p", { class: "answer" });
      this.spoken = h("p", { class: "unseen", role: "status" });
      this.slip = h("div", { class: "slip-place" });
      this.more = h("div");
      this.steps = h("div");
      this.formulas = h("details", { class: "formulas", ontoggle: () => this.draw() }, h("summary", {}, "The formulas, with these values"), this.steps);
      const form = h("form", { class: "fields", onsubmit: (event) => event.preventDefault(), novalidate: true },
        ...spec.fields.map((name) => this.field(name)));
      const link = h("button", { type: "button", class: "copy-link", onclick: () => this.copy(link) }, "Copy a link to these values");
      const reset = h("button", { type: "button", class: "copy-link", onclick: () => this.fill({}) }, "Start again");
      place.id = `calculator-${this.name}`;
      place.replaceChildren(...[spec.before?.(this) ?? null, form, h("p", { class: "doings" }, link, reset), this.answer, this.spoken, this.slip, this.more, this.formulas].filter(Boolean));
    }

    field(name) {
      const field = FIELDS[name], id = `${this.name}-${name}`, fault = h("p", { class: "fault", id: `${id}-fault`, "aria-live": "polite" });
      const given = { id, name, "aria-describedby": fault.id, oninput: () => { this.slide(name); this.later(); } };
      const input = field.known ? h("select", given, ...field.known.map(([value, text]) => h("option", { value }, text)))
        : h("input", { ...given, type: "text", inputmode: "decimal", autocomplete: "off", spellcheck: "false", placeholder: field.optional });
      const sliding = field.slide || field.doubling || field.share;
      const slider = sliding ? h("input", {
        type: "range", min: 0, max: scale.most(field), "aria-label": `${field.label}, slider`,
        oninput: () => { input.value = written(field, scale.value(field, Number(slider.value))); this.slide(name); this.later(); },
      }) : null;
      this.parts[name] = { field, input, slider, fault };
      return h("div", { class: "field" }, h("label", { for: id }, field.label), input, slider, fault);
    }

    // Let a slider follow its field.
    slide(name) {
      const { field, input, slider } = this.parts[name];
      const { value } = read(field, input.value);
      if (!slider || value === undefined || value === null) return;
      slider.value = Math.round(scale.at(field, value));
      slider.setAttribute("aria-valuetext", written(field, value));
    }

    fill(values) {
      for (const [name, { field, input }] of Object.entries(this.parts)) {
        const value = Object.hasOwn(values, name) ? values[name] : written(field, this.defaults[name] ?? null);
        if (field.known && !field.known.some(([known]) => String(known) === String(value))) input.value = String(this.defaults[name]);
        else input.value = value;
        this.slide(name);
      }
      this.update();
    }

    later() {
      cancelAnimationFrame(this.waiting);
      this.waiting = requestAnimationFrame(() => this.update());
    }

    // Read every field; where one is bad, say so beside it and keep the answer back.
    values() {
      const values = {};
      let good = true;
      for (const [name, { field, input }] of Object.entries(this.parts)) {
        const { value, fault } = read(field, input.value);
        this.blame(name, fault ?? "");
        if (fault) good = false;
        values[field.as ?? name] = value;
      }
      return good ? values : null;
    }

    blame(name, sentence) {
      const { input, fault } = this.parts[name];
      fault.textContent = sentence;
      if (sentence) input.setAttribute("aria-invalid", "true"); else input.removeAttribute("aria-invalid");
    }

    update() {
      const values = this.values();
      this.seen = new Map();
      this.found = null;
      if (values) {
        try {
          this.found = window.costlab.estimates[this.name](values, this.seen);
        } catch (error) {
          if (!(error instanceof Fault) || !this.parts[error.field]) throw error;
          this.blame(error.field, `${this.parts[error.field].field.label} ${error.message}`);
        }
      }
      this.place.classList.toggle("stale", !this.found);
      if (this.found) {
        const shown = this.spec.show(this.found, values);
        this.say(shown.answer);
        this.slip.replaceChildren(receipt(this.spec.title, shown));
        this.more.replaceChildren(...(shown.more ?? []));
      } else {
        this.say("One of the fields holds no usable value: the sentence beside it says what is accepted.");
        this.slip.replaceChildren();
        this.more.replaceChildren();
      }
      this.draw();
      this.remember();
    }

    // The answer follows at once for the eye, and once things have settled for the ear.
    say(sentence) {
      this.answer.textContent = sentence;
      clearTimeout(this.speaking);
      this.speaking = setTimeout(() => { this.spoken.textContent = sentence; }, 700);
    }

    draw() {
      this.steps.replaceChildren();
      if (!this.formulas.open) return;
      for (const [name, { asked, found }] of this.seen) {
        const { about, inputs, steps } = data.formulas[name];
        const row = (what, middle, value) => h("tr", {}, h("th", { scope: "row" }, h("code", {}, what)), h("td", {}, middle), h("td", {}, Number(value.toPrecision(6)).toString()));
        const rows = Object.entries(inputs).map(([key, text]) => row(key, text, asked[key]));
        const made = Object.entries(steps).map(([key, text]) => row(key, h("code", {}, text), found[key]));
        const head = h("thead", {}, h("tr", {}, ...["name", "what it is", "value"].map((text) => h("th", { scope: "col" }, text))));
        this.steps.append(h("details", {}, h("summary", {}, h("code", {}, name), `: ${about}`),
          frame(name, h("table", {}, head, h("tbody", {}, ...rows, ...made)))));
      }
    }

    // What differs from the defaults, as a fragment.
    fragment() {
      const asked = new URLSearchParams();
      for (const [name, { field, input }] of Object.entries(this.parts)) {
        if (input.value.trim() !== written(field, this.defaults[name] ?? null)) asked.set(name, input.value.trim().slice(0, 40));
      }
      const text = asked.toString();
      return `#${this.name}${text ? `?${text}` : ""}`;
    }

    remember() {
      clearTimeout(this.remembering);
      if (this.touched) this.remembering = setTimeout(() => history.replaceState(null, "", this.fragment()), 300);
      this.touched = true;
    }

    async copy(button) {
      const before = button.textContent, address = location.href.split("#")[0] + this.fragment();
      history.replaceState(null, "", this.fragment());
      try { await navigator.clipboard.writeText(address); button.textContent = "Copied"; }
      catch { button.textContent = "The address bar holds the link"; }
      setTimeout(() => { button.textContent = before; }, 2000);
    }
  }

  const frame = (label, table) => h("div", { class: "table-frame", tabindex: 0, role: "group", "aria-label": `${label}, scrolls sideways` }, table);

  // The receipt of the book, from lines [name, value, kind].
  function receipt(title, { lines, foot }) {
    const drawn = lines.map(([name, value, kind = ""]) => h("div", { class: kind === "total" ? "line total" : "line" },
      h("dt", {}, name), h("dd", kind && kind !== "total" ? { class: kind } : {}, value)));
    return h("div", { class: "costlab-receipt", role: "group", "aria-label": title },
      h("div", { class: "head" }, h("span", { class: "shop" }, "The Cost Lab"), h("span", { class: "what" }, title)),
      h("dl", {}, ...drawn), foot ? h("div", { class: "foot" }, foot) : null);
  }

  // --- what each calculator asks and shows

  const chipName = (v) => data.chips[v.chip].name;
  function priceNote(v) {
    const { name, price } = data.chips[v.chip];
    if (v.price !== null) return `${name} at $${figure(v.price)} a device-hour, as given.`;
    if (!price) return `Nobody's price of ${name} is known: give one for dollars.`;
    return `${name} at $${figure(price.median)} a device-hour, the median of on-demand prices ($${figure(price.low)} to $${figure(price.high)}) from ${price.oldest} to ${price.newest}.`;
  }
  const LAYOUT = ["model", "chip", "devices", "tensor", "pipeline", "context", "expert", "zero", "micro_batch", "global_batch", "sequence", "precision", "recompute", "adapters"];
  const RUN = { model: "llama-3.1-8b", chip: "h100-sxm", devices: 64, tensor: 1, pipeline: 1, context: 1, expert: 1, zero: 3, micro_batch: 1, global_batch: null, sequence: 8192, precision: "bf16", recompute: "none", adapters: 0 };
  const SERVED = { model: "llama-3.1-8b", chip: "h100-sxm", devices: 1, weight_bits: 16, kv_bits: 16, prompt: 1000, generate: 300, cached_share: 0, slo_ttft: null, slo_tpot: null, price: null };

  const SPECS = {
    memory: {
      title: "memory of one device, in training", fields: LAYOUT, defaults: RUN,
      show: (r, v) => ({
        answer: r.fits ? `It fits: ${figure(r.gib)} GiB on each ${chipName(v)}, up to ${figure(r.gib_high)} with the range, of ${figure(r.room)}.`
          : `It does not fit: ${figure(r.gib)} GiB on each ${chipName(v)}, up to ${figure(r.gib_high)} with the range, and there are ${figure(r.room)}. Share more, compute layers again, or use more devices.`,
        lines: [...["weights", "gradients", "optimizer", "activations", "logits", "workspace"].map((part) => [part, `${figure(r[part])} GiB`]),
          ["all together", `${figure(r.gib)} GiB`, "total"], ["80 % range", `${figure(r.gib_low)} to ${figure(r.gib_high)}`],
          ["there are", `${figure(r.room)} GiB`, r.fits ? "saved" : "spent"]],
        foot: "On the fullest device, with Adam. The range is what published peaks were against their predictions.",
      }),
    },
    training: {
      title: "one training run", fields: [...LAYOUT, "tokens", "price"], defaults: { ...RUN, tokens: 1e12, price: null },
      show: (r, v) => ({
        answer: `${dollars(r.dollars)}${range(dollars, r.dollars_low, r.dollars_high)} and ${figure(r.days)} days on ${v.devices.toLocaleString("en-US")} × ${chipName(v)}.${r.memory.fits ? "" : ` But it does not fit: ${figure(r.memory.gib_high)} GiB a device may be needed, and there are ${figure(r.memory.room)}.`}`,
        lines: [["a step", seconds(r.step_seconds)], ["tokens a second and device", figure(r.tokens_per_s_per_device)],
          ["share of the data sheet, MFU", percent(r.mfu)], ["share of the time in steps", percent(r.goodput)],
          ["operations", r.flops_total.toExponential(2)], ["device-hours", short(r.device_hours)],
          ["energy of the devices", r.energy_kwh === null ? "unknown" : `${short(r.energy_kwh)} kWh`],
          ["days", `${figure(r.days)}${range(figure, r.days_low, r.days_high)}`],
          ["the run", dollars(r.dollars), "total"], ["80 % range", r.dollars === null ? "unknown" : `${dollars(r.dollars_low)} to ${dollars(r.dollars_high)}`]],
        foot: priceNote(v),
      }),
    },
    serving: {
      title: "a service at this load",
      fields: ["model", "chip", "devices", "rate", "prompt", "generate", "weight_bits", "kv_bits", "cached_share", "slo_ttft", "slo_tpot", "price"],
      defaults: { ...SERVED, rate: 5 },
      show: (r, v) => ({
        answer: !r.fits ? `It does not fit: ${figure(r.memory_gib)} GiB on each device, and there are ${figure(r.room)}, not all of them usable.`
          : `${dollars(r.dollars)}${range(dollars, r.dollars_low, r.dollars_high)} per million tokens written, at ${percent(r.utilization)} of ${v.slo_ttft === null && v.slo_tpot === null ? "the most it can serve" : "the most that keeps the promise"}.${r.kept ? "" : v.slo_ttft === null && v.slo_tpot === null ? " More arrives than it can serve." : " The promise is not kept."}`,
        lines: [["replicas", `${r.replicas} of ${r.tensor}${r.pipeline > 1 ? ` × ${r.pipeline} stages` : ""}`],
          ["memory of a device", `${figure(r.memory_gib)} of ${figure(r.room)} GiB`], ["of it cache", `${figure(r.kv_gib)} GiB`],
          ["cache of a token", `${figure(r.kv_token_bytes / 1000)} kB`], ["requests at once", `${figure(r.batch)} of ${r.max_batch.toLocaleString("en-US")}`],
          ["first token, p95", `${seconds(r.ttft_p95)}${range(seconds, r.ttft_p95_low, r.ttft_p95_high)}`],
          ["further token, p95", `${seconds(r.tpot_p95)}${range(seconds, r.tpot_p95_low, r.tpot_p95_high)}`],
          ["how busy", `${percent(r.utilization)}${range(percent, r.utilization_low, r.utilization_high)}`],
          ["a million tokens written", dollars(r.dollars), "total"]],
        foot: priceNote(v), more: r.fits ? [curve(v, r)] : [],
      }),
    },
    quantized: {
      title: "rounded weights", fields: ["model", "bits", "group"], defaults: { model: "llama-3.1-8b", bits: 4, group: 128 },
      show: (r) => ({
        answer: `${figure(r.gb)} GB instead of ${figure(r.gb_before)}, and rounding noise ${figure(r.noise_db)} dB below the weights (${percent(r.error)} of them).`,
        lines: [["in 16 bits", `${figure(r.gb_before)} GB`], ["bits a weight, scale included", figure(r.bits_per_weight)],
          ["rounded", `${figure(r.gb)} GB`, "total"], ["times smaller", figure(r.times_smaller), "saved"],
          ["error over weight, root mean square", percent(r.error)], ["signal over noise", `${figure(r.noise_db)} dB`]],
        foot: "Rounded to nearest; embedding and last matrix stay in 16 bits; the error is that of normally distributed weights. What it does to answers you have to measure.",
      }),
    },
    storage: {
      title: "storage, a month",
      fields: ["data_gb", "stored", "weight_bits", "copies", "checkpoint_bytes", "checkpoints_per_day", "retention_days", "reads_gb", "egress_gb"],
      defaults: { data_gb: 10000, stored: "llama-3.1-8b", weight_bits: 16, copies: 1, checkpoint_bytes: 14, checkpoints_per_day: 4, retention_days: 7, reads_gb: 0, egress_gb: 0 },
      show(r) {
        const ranked = Object.entries(r.tiers).sort((a, b) => a[1].dollars - b[1].dollars), hot = r.tiers["object-standard"];
        const dates = [...Object.values(data.tiers).flatMap((tier) => tier.keep), ...data.send].map((row) => row.as_of).filter(Boolean).sort();
        return {
          answer: `${figure(r.gb)} GB kept: ${hot ? `${dollars(hot.dollars)} a month in standard object storage, ` : ""}${dollars(ranked[0][1].dollars)} in the cheapest tier, ${ranked[0][0]}.`,
          lines: [["weights", `${figure(r.weights_gb)} GB`], ["checkpoints", `${figure(r.checkpoints_kept)} of ${figure(r.checkpoint_gb)} GB`], ["kept", `${figure(r.gb)} GB`, "total"],
            ...ranked.map(([tier, { dollars: middle, low, high }]) => [tier, `${dollars(middle)}${range(dollars, low, high)}`])],
          foot: `The median of the providers, cheapest to dearest in brackets; prices of ${dates[0]} to ${dates.at(-1)}. A tier is left out where nobody says what reading costs.`,
        };
      },
    },
    rent: {
      title: "rent, or call",
      fields: ["api", "model", "chip", "devices", "prompt", "generate", "weight_bits", "kv_bits", "cached_share", "slo_ttft", "slo_tpot", "bytes_per_token", "api_bytes_per_token", "price"],
      defaults: { ...SERVED, api: "gpt-4o-mini", bytes_per_token: 4, api_bytes_per_token: 4 },
      show: (r, v) => ({
        answer: r.reachable ? `Renting is cheaper above ${figure(r.break_even_per_s)} requests a second, ${percent(r.utilization)} of what these devices can serve.`
          : `Calling is always cheaper here: renting would need ${figure(r.break_even_per_s)} requests a second, and these devices serve ${figure(r.most)}.`,
        lines: [["the interface, a request", `$${figure(r.per_request)}`], ["the interface, a megabyte written", dollars(r.per_megabyte)],
          ["renting, an hour", dollars(r.rent_per_hour)], ["renting at full load, a megabyte", dollars(r.rent_per_megabyte)],
          ["the most that can be served", `${figure(r.most)} a second`],
          ["renting is cheaper above", `${figure(r.break_even_per_s)} a second`, "total"]],
        foot: `${v.api} from ${data.apis[v.api].provider}, $${data.apis[v.api].read} and $${data.apis[v.api].written} per million tokens read and written, priced ${data.apis[v.api].as_of}. ${priceNote(v)} Whether both models do your task equally well, no price says.`,
      }),
    },
  };

  // --- the curve of cost against load

  function curve(v, now) {
    const points = window.costlab.estimates.curve(v).filter((point) => point.dollars !== null);
    if (!points.length) return h("p", {}, "No promise can be kept here, so there is no curve of cost against load.");
    const head = ["load", "requests a second", "first token, p95", "further token, p95", "$ per million tokens"];
    const rows = points.map((p) => [percent(p.load), figure(p.rate), seconds(p.ttft_p95), seconds(p.tpot_p95), figure(p.dollars)]);
    const table = h("table", {}, h("thead", {}, h("tr", {}, ...head.map((text) => h("th", { scope: "col" }, text)))),
      h("tbody", {}, ...rows.map((row) => h("tr", {}, ...row.map((text) => h("td", {}, text))))));
    return h("div", {}, picture(points, now), h("details", {}, h("summary", {}, "The curve as a table"), frame("Cost against load", table)));
  }

  function picture(points, now) {
    const make = (tag, given, text) => {
      const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
      for (const [name, value] of Object.entries(given)) made.setAttribute(name, value);
      if (text) made.textContent = text;
      return made;
    };
    const all = points.map((p) => p.dollars), low = Math.min(...all) / 1.3, high = Math.max(...all) * 1.3;
    const x = (load) => 20 + 560 * load, y = (value) => 190 - 160 * Math.log(value / low) / Math.log(high / low);
    const first = points[0], last = points.at(-1);
    const drawn = make("svg", { viewBox: "0 0 640 250", role: "img", class: "curve",
      "aria-label": `A million tokens costs ${dollars(first.dollars)} at ${percent(first.load)} of the load that can be served and ${dollars(last.dollars)} at ${percent(last.load)}.` });
    drawn.append(make("text", { x: 20, y: 16, class: "title" }, "An idle device costs as much as a busy one"),
      make("line", { x1: 20, y1: 200, x2: 600, y2: 200, class: "axis" }),
      make("polyline", { points: points.map((p) => `${x(p.load)},${y(p.dollars)}`).join(" "), class: "cost" }));
    for (const load of [0, 0.25, 0.5, 0.75, 1]) drawn.append(make("text", { x: x(load), y: 218, "text-anchor": "middle" }, `${load * 100} %`));
    drawn.append(make("text", { x: 300, y: 242, "text-anchor": "middle" }, "load, as a share of what can be served"),
      make("text", { x: x(first.load) + 8, y: y(first.dollars) + 4 }, `${dollars(first.dollars)} per million tokens`),
      make("text", { x: x(last.load), y: y(last.dollars) - 10, "text-anchor": "end" }, dollars(last.dollars)));
    if (now.utilization < 1 && now.dollars <= high && now.dollars >= low) {
      drawn.append(make("circle", { cx: x(now.utilization), cy: y(now.dollars), r: 6, class: "here" }),
        make("text", { x: x(now.utilization), y: y(now.dollars) + 24, "text-anchor": "middle", class: "strong" }, "you are here"));
    }
    return drawn;
  }

  // --- start

  function named_in(fragment) {
    const [, name, query = ""] = /^#([a-z]+)(?:\?(.*))?$/.exec(fragment) ?? [];
    return { name, values: Object.fromEntries(new URLSearchParams(query)) };
  }

  function start() {
    const { name, values } = named_in(location.hash), running = {};
    for (const place of document.querySelectorAll(".calculator")) {
      const one = new Calculator(place, SPECS[place.dataset.calculator]);
      running[one.name] = one;
      one.fill(one.name === name ? values : {});
    }
    addEventListener("hashchange", () => {
      const { name, values } = named_in(location.hash);
      running[name]?.fill(values);
      running[name]?.place.scrollIntoView();
    });
    running[name]?.place.scrollIntoView();
    window.costlab.running = running;
  }

  Object.assign(window.costlab, { SPECS, FIELDS, parse, read, h, frame, figure, dollars, range, priceNote, start });
}
