// The wiring of costlab.estimate: which value goes into which expression. Every figure comes out of an expression
// of formulas.json; what stands here is which chip, which layout, and the search for the load a promise allows.
"use strict";

{
  const { library } = window.costlab;
  const element = document.getElementById("calculator-data");
  const data = element ? JSON.parse(element.textContent) : null;
  const GIB = 2 ** 30;

  // What cannot be estimated: a field, and a sentence to show beside it.
  class Fault extends Error {
    constructor(field, sentence) { super(sentence); this.field = field; }
  }

  function estimator(data) {
    const run = library(data.formulas);
    const { training, serving } = data.coefficients;
    const attended = (model, positions) => {
      const { layers, window_layers, window } = model.train;
      return run("attended", { layers, window_layers, window: window || positions, positions }).attended;
    };

    const priceOf = (v) => v.price ?? data.chips[v.chip].price?.median ?? null;

    // --- training

    function layout(v) {
      const model = data.models[v.model], replica = v.tensor * v.pipeline * v.context, { experts } = model.train;
      const check = (ok, field, sentence) => { if (!ok) throw new Fault(field, sentence); };
      check(v.devices % replica === 0, "devices",
        `must be a multiple of tensor × pipeline × context (${v.tensor} × ${v.pipeline} × ${v.context} = ${replica}).`);
      check(v.tensor <= model.heads, "tensor", `must be at most the ${model.heads} heads of ${model.name}.`);
      check(v.pipeline <= model.train.layers, "pipeline",
        `must be at most the ${model.train.layers} layers of ${model.name}.`);
      check(experts % v.expert === 0, "expert", experts > 1 ? `must divide the ${experts} experts of ${model.name}.`
        : `must be 1: ${model.name} has no experts.`);
      check(v.devices / v.tensor / v.pipeline % v.expert === 0, "expert",
        `must divide the devices that hold the same part of the model (${v.devices / v.tensor / v.pipeline}).`);
      check(v.adapters <= model.train.hidden, "adapters", `must be at most the width of ${model.name}, ${model.train.hidden}.`);
      const each = v.devices / replica * v.micro_batch;
      const batch = v.global_batch ?? each * Math.max(data.micro_batches, 4 * v.pipeline);
      const below = Math.floor(batch / each) * each;
      check(batch % each === 0, "global_batch",
        `must be a multiple of replicas × micro-batch (${each}), such as ${below ? `${below} or ${below + each}` : each}.`);
      return {
        devices: v.devices, data: v.devices / replica, tensor: v.tensor, pipeline: v.pipeline,
        context: v.context, expert: v.expert, zero: v.zero, micro_batch: v.micro_batch, global_batch: batch,
        sequence: v.sequence, interleave: 1,
        again: Number(v.recompute === "full"), attend_again: Number(v.recompute === "selective"),
        adapted: Number(v.adapters > 0), frozen: Number(v.adapters > 0), adapter_params: v.adapters * model.adapter_each,
      };
    }

    function memory(v, seen) {
      const bits = data.bits[v.precision], wide = bits === 32 ? 4 : 2;
      const held = run("training_memory", {
        ...data.models[v.model].train, ...layout(v), wide,
        frozen_bytes: v.adapters ? data.frozen[bits] ?? wide : wide,
        unpacking: v.adapters && bits === 4 ? data.unpacking : 1,
      }, seen);
      const [low, high] = data.residuals.training.memory, room = data.chips[v.chip].memory_gib;
      const found = { gib: held.gib, gib_low: held.gib * low, gib_high: held.gib * high };
      for (const part of ["weights", "gradients", "optimizer", "activations", "logits", "workspace"]) found[part] = held[part] / GIB;
      return { ...found, room, fits: held.gib * high <= room };
    }

    function train(v, seen) {
      const model = data.models[v.model], chip = data.chips[v.chip], lay = layout(v);
      const rates = chip.train[v.precision];
      if (!rates) throw new Fault("precision", `${chip.name} has none of it: choose one of ${Object.keys(chip.train).join(", ")}.`);
      const given = { ...training, ...model.train, ...lay, ...rates, ...chip.links };
      Object.assign(given, run("training_links", given, seen));
      Object.assign(given, run("training_share", given, seen));
      given.attended = attended(model, v.sequence / 2) / model.train.layers;
      const layer = run("training_layer", given, seen).seconds, head = run("training_head", given, seen).seconds;
      const step = run("training_step",
        { ...given, layer, head, interleave: given.parts, update_bytes: data.update_bytes }, seen).seconds;
      const work = run("training_flops", { ...given, attended: attended(model, v.sequence) }, seen);
      const whole = run("training_run", { ...given, ...work, seconds: step, run_tokens: v.tokens }, seen);
      const low = rates.narrow || model.serve.moe, [slow, fast] = data.residuals.training[low ? "low" : "dense"];
      const ends = run("training_range", { slow, fast, goodput: whole.goodput }, seen);
      const price = priceOf(v);
      const ranged = (value) => value === null ? [null, null, null] : [value, value * ends.low, value * ends.high];
      const [dollars, dollars_low, dollars_high] = ranged(price === null ? null : price * whole.device_hours);
      const [days, days_low, days_high] = ranged(whole.wall_hours / 24);
      return {
        step_seconds: step, tokens_per_s_per_device: whole.pace, mfu: whole.mfu, goodput: whole.goodput,
        device_hours: whole.device_hours, days, days_low, days_high, flops_total: whole.flops_total, price,
        dollars, dollars_low, dollars_high, energy_kwh: chip.power_w === null ? null : whole.device_hours * chip.power_w / 1000,
        memory: memory(v),
      };
    }

    // --- serving

    // One copy of a model on tensor × pipeline devices: its room and its seconds.
    function replica(v, tensor, pipeline) {
      const model = data.models[v.model].serve, chip = data.chips[v.chip];
      const bytes = (tokens, batch = 0, seen = undefined) => run("serving_memory", {
        ...model, weight_bits: v.weight_bits, kv_bits: v.kv_bits, attended: attended(data.models[v.model], tokens), batch,
        tensor, pipeline, memory_gib: chip.memory_gib, memory_share: serving.memory_share, workspace_gib: serving.workspace_gib,
      }, seen);
      const held = bytes(1);
      const inputs = {
        ...serving, ...model, ...chip.serve[v.weight_bits], tensor, spread: held.spread, weight_bytes: held.bytes_a_weight,
        kv_bytes: held.kv_bytes, kv_shards: held.kv_shards, link: chip.link, latency: chip.latency,
      };
      const decoding = { ...inputs, attention_flops: model.decode_flops };
      const reading = { ...inputs, dense: inputs.dense - model.last };
      return {
        tensor, pipeline, devices: tensor * pipeline, bytes,
        capacity: (tokens) => bytes(tokens).capacity,
        step: (batch, context, seen) => run("decode_step",
          { ...decoding, batch: Math.max(1, batch / pipeline), attended: attended(data.models[v.model], context) }, seen).seconds,
        prefill: (tokens, cached, seen) => run("prefill",
          { ...reading, tokens, attended: attended(data.models[v.model], cached + tokens / 2) }, seen).seconds,
      };
    }

    // Layouts worth comparing: those in which one sequence fits, else the largest there is.
    function layouts(v, devices, tokens) {
      const widest = Math.min(devices, data.chips[v.chip].links.node_size, data.models[v.model].heads), widths = [];
      for (let tensor = 1; tensor <= widest; tensor *= 2) widths.push(tensor);
      const found = widths.map((tensor) => replica(v, tensor, 1)), last = widths.at(-1);
      let fitting = found.filter((one) => one.capacity(tokens) >= 1);
      for (let stages = 2; !fitting.length && stages * last <= devices; stages++) {
        found.push(replica(v, last, stages));
        if (found.at(-1).capacity(tokens) >= 1) fitting = [found.at(-1)];
      }
      return fitting.length ? fitting : [found.at(-1)];
    }

    // A layout under a load: requests that arrive at random, `rate` of them a second over all replicas (null: the most).
    function atWork(one, replicas, v, rate, seen) {
      const tokens = v.prompt + v.generate, context = v.prompt + v.generate / 2, cached = v.prompt * v.cached_share;
      const places = Math.max(Math.floor(one.capacity(tokens)), 1), fresh = v.prompt - cached;
      const read = fresh ? one.prefill(fresh, cached, seen) : 0, each = read / one.pipeline;
      const under = (batch, step, seen) => run("under_way", { batch, step, each, generate: v.generate, places }, seen);
      const rateAt = (batch) => under(batch, one.step(batch, context)).rate;
      const most = rateAt(places);
      function open(batch, seen) {
        const step = one.step(batch, context, seen), at = under(batch, step, seen);
        const tpot_p95 = one.step(at.crowd, context) / at.left;
        const wait = run("waiting", { ...at, prefill: each, places, load: at.rate / most, read, step }, seen);
        const kept = wait.ttft_p95 <= (v.slo_ttft ?? wait.ttft_p95) && tpot_p95 <= (v.slo_tpot ?? tpot_p95);
        return { batch, step, read, rate: at.rate, ttft: wait.ttft, ttft_p95: wait.ttft_p95, tpot: at.tpot, tpot_p95, kept };
      }
      function mostKept() {
        let low = 1e-3, high = places * 0.999;
        if (!open(low).kept) return null;
        if (open(high).kept) return high;
        for (let i = 0; i < 20; i++) {
          const middle = (low * high) ** 0.5;
          if (open(middle).kept) low = middle; else high = middle;
        }
        return low;
      }
      const promised = v.slo_ttft !== null || v.slo_tpot !== null;
      const top = promised ? mostKept() : places, ceiling = open(top ?? 1), possible = top !== null;
      const whole = { replica: one, replicas, places, most: ceiling.rate };
      if (rate === null) return { ...whole, ...ceiling, kept: possible };
      const asked = rate / replicas;
      if (asked >= ceiling.rate * 0.999999) {
        const late = asked > most ? { ttft: Infinity, ttft_p95: Infinity } : {};
        return { ...whole, ...ceiling, ...late, kept: false };
      }
      let low = 0, high = ceiling.batch;
      for (let i = 0; i < 30; i++) {
        const middle = (low + high) / 2;
        if (rateAt(middle) < asked) low = middle; else high = middle;
      }
      const point = open(high, seen);
      return { ...whole, ...point, rate: asked, kept: possible && point.kept };
    }

    // The layout on so many devices that serves the load at the least cost, promises kept where possible.
    function best(v, rate, seen) {
      let chosen = null;
      for (const one of layouts(v, v.devices, v.prompt + v.generate)) {
        const trace = new Map(), point = atWork(one, Math.floor(v.devices / one.devices), v, rate, trace);
        const worth = [Number(point.kept), rate === null ? point.rate * point.replicas : point.most * point.replicas];
        if (!chosen || worth[0] > chosen.worth[0] || (worth[0] === chosen.worth[0] && worth[1] > chosen.worth[1])) chosen = { point, worth, trace };
      }
      for (const [name, values] of chosen.trace) seen?.set(name, values);
      return chosen.point;
    }

    function serve(v, seen) {
      const chip = data.chips[v.chip], point = best(v, v.rate, seen), one = point.replica;
      const tokens = v.prompt + v.generate, rate = point.rate * point.replicas, price = priceOf(v);
      const held = one.bytes(v.prompt + v.generate / 2, Math.max(point.batch, 1), seen), fits = one.capacity(tokens) >= 1;
      const utilization = Math.min(v.rate / (point.most * point.replicas), 1e9), batch = point.batch * point.replicas;
      const paid = price === null ? null
        : run("serving_dollars", { price, devices: v.devices, rate, generate: v.generate }, seen).per_million_tokens;
      const [slow, fast] = data.residuals[batch <= 4 * point.replicas ? "decode" : "throughput"];
      const settled = utilization < 1;
      return {
        fits, kept: point.kept && fits, tensor: one.tensor, pipeline: one.pipeline, replicas: point.replicas, price,
        batch, max_batch: fits ? Math.floor(one.capacity(tokens)) * Math.floor(v.devices / one.devices) : 0,
        memory_gib: held.device_bytes / GIB, room: chip.memory_gib, served: rate,
        kv_token_bytes: attended(data.models[v.model], tokens) * held.kv_bytes / tokens,
        kv_gib: held.cache_bytes * Math.max(point.batch, 1) / one.devices / GIB,
        utilization, utilization_low: utilization / fast, utilization_high: utilization / slow,
        ttft_p95: point.ttft_p95, ttft_p95_low: point.ttft_p95 / fast, ttft_p95_high: point.ttft_p95 / slow,
        tpot_p95: point.tpot_p95, tpot_p95_low: point.tpot_p95 / fast, tpot_p95_high: point.tpot_p95 / slow,
        dollars: paid, dollars_low: paid === null || settled ? paid : paid / fast,
        dollars_high: paid === null || settled ? paid : paid / slow,
      };
    }

    // Requests a second at the most, promises kept; null where the model does not fit or no promise can be kept.
    function capacity(v) {
      const point = best(v, 1e-6);
      return point.kept && point.replica.capacity(v.prompt + v.generate) >= 1 ? point.most * point.replicas : null;
    }

    // Dollars per million tokens at shares of the most that can be served.
    function curve(v) {
      const most = capacity(v);
      return most === null ? [] : [0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95].map((load) => ({ load, rate: load * most, ...serve({ ...v, rate: load * most }) }));
    }

    // --- sizes, storage, interfaces

    function quantized(v, seen) {
      const { params, embedding_params, head_params, hidden } = data.models[v.model].train;
      const [group, scale_bits] = v.group ? [v.group, 16] : [hidden, 32];
      return { group, ...run("quantized", { params, embedding_params, head_params, bits: v.bits, group, scale_bits }, seen) };
    }

    function median(values) {
      const sorted = [...values].sort((a, b) => a - b), middle = sorted.length >> 1;
      return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
    }

    function storage(v, seen) {
      const params = v.model === "none" ? 0 : data.models[v.model].train.params;
      const sizes = run("kept", { ...v, params }, seen), tiers = {};
      for (const [name, tier] of Object.entries(data.tiers)) {
        if (v.reads_gb && tier.read === null) continue;  // nobody says what reading costs
        const rows = [tier.keep, v.reads_gb ? tier.read : [{ price: 0 }], v.egress_gb ? data.send : [{ price: 0 }]];
        const month = (pick) => {
          const [price_keep, price_read, price_send] = rows.map((found) => pick(found.map((row) => row.price)));
          return run("storage_month", { ...v, gb: sizes.gb, price_keep, price_read, price_send }, seen).per_month;
        };
        tiers[name] = { dollars: month(median), low: month((p) => Math.min(...p)), high: month((p) => Math.max(...p)) };
      }
      return { ...sizes, tiers };
    }

    function call(api, v) {
      const { read, cached, written } = data.apis[api];
      return { prompt: v.prompt, generate: v.generate, cached_share: v.cached_share ?? 0, price_input: read, price_cached: cached, price_output: written };
    }

    function rent(v, seen) {
      const most = capacity(v), price = priceOf(v);
      if (most === null) throw new Fault("devices", "are too few: the model does not fit, or no promise can be kept even when idle.");
      if (price === null) throw new Fault("price", "must be given: nobody's price of this accelerator is known.");
      const full = serve({ ...v, rate: 0.999 * most }, seen).dollars, ratio = v.bytes_per_token / v.api_bytes_per_token;
      const there = { ...v, prompt: v.prompt * ratio, generate: v.generate * ratio };
      const found = run("rent_or_call",
        { ...call(v.api, there), dollars_per_hour: price * v.devices, bytes_per_token: v.api_bytes_per_token }, seen);
      return {
        ...found, most, reachable: found.break_even_per_s <= most, utilization: found.break_even_per_s / most,
        rent_per_hour: price * v.devices, rent_per_megabyte: full / v.bytes_per_token,
      };
    }

    // --- a bill, and what lowers it

    function fleet(v, rate, seen) {
      const price = priceOf(v);
      if (price === null) return null;
      let chosen = null;
      for (const one of layouts(v, 1024, v.prompt + v.generate)) {
        if (one.capacity(v.prompt + v.generate) < 1) continue;
        const trace = seen && new Map(), point = atWork(one, 1, v, null, trace);
        if (!point.kept) continue;
        const [slow, fast] = data.residuals.throughput;
        const size = (pace, trace) => run("fleet", { rate, capacity: point.most * pace, replica_devices: one.devices, price }, trace);
        const middle = size(1, trace);
        if (!chosen || middle.devices < chosen.devices) chosen = { ...middle, low: size(fast).per_month, high: size(slow).per_month, trace };
      }
      for (const [name, values] of chosen?.trace ?? []) seen.set(name, values);
      return chosen;
    }

    function bill(v, seen) {
      const asks = { ...v, weight_bits: 16, kv_bits: 16, cached_share: 0 };
      const rented = (change, seen) => {
        const u = { ...asks, ...change }, found = fleet(u, u.requests_per_day / 86400 * (u.follow ? 1 : u.peak), seen);
        const more = u.follow && found ? 1 + 1 / found.replicas : 1;
        return found && [found.per_month, found.low, found.high].map((dollars) => dollars * more);
      };
      const called = (change, seen) => {
        const u = { ...asks, ...change };
        const each = run("rent_or_call", { ...call(u.api, u), dollars_per_hour: 0, bytes_per_token: 1 }, seen).per_request;
        const { per_month } = run("calls", { per_request: each, requests_per_day: u.requests_per_day }, seen);
        return [per_month, per_month, per_month];
      };
      // Of dollars by name, the least, and the name.
      const least = (all) => all.filter(([, after]) => after).reduce((a, b) => a[1] && a[1][0] <= b[1][0] ? a : b, ["", null]);
      function after(row) {
        const change = { ...row.set };
        for (const [name, times] of Object.entries(row.times ?? {})) change[name] = Math.max(1, Math.trunc(v[name] * times));
        if (row.shared) change.cached_share = v.shared;
        if (row.follow) change.follow = true;
        if (row.smaller) { const model = smaller(v.model); return least([[model, model && rented({ model })]]); }
        if (row.chip) return least(Object.keys(data.chips).map((chip) => [chip, rented({ chip, price: null })]));
        if (row.api) return least((v.pays === "rent" ? [v.api] : Object.keys(data.apis)).map((api) => [api, called({ api })]));
        return ["", v.pays === "rent" || row.rent ? rented(change) : called(change)];
      }
      const today = v.pays === "rent" ? rented({}, seen) : called({}, seen);
      if (!today) return { today: null, levers: [] };
      const levers = data.levers.filter((row) => [v.pays, "both"].includes(row.on)).map((row) => { const [picked, found] = after(row); return { row, picked, after: found }; })
        .filter(({ after }) => after && after[0] < today[0])
        .map(({ row, picked, after: [dollars, low, high] }) => ({
          ...row, picked, dollars, low, high, ...run("payback", { today: today[0], after: dollars, days: row.days, day_rate: v.day_rate }, seen),
        }))
        .sort((a, b) => b.saved - a.saved).slice(0, data.most_levers);
      return { today, levers };
    }

    function smaller(id) {
      const most = data.models[id].train.params / 2;
      const known = Object.entries(data.models).filter(([, m]) => m.train.params <= most && m.as_of >= data.recent);
      return known.reduce((a, b) => a && a[1].train.params >= b[1].train.params ? a : b, null)?.[0] ?? null;
    }

    return { memory, training: train, serving: serve, curve, quantized, storage, rent, bill };
  }

  Object.assign(window.costlab, { data, Fault, estimates: data && estimator(data) });
}
