// The expressions of costlab/estimate/formulas.json, evaluated as Python evaluates them: numbers, names,
// + - * / **, brackets, and the five functions below. Nothing else is read, and nothing is ever run as a script.
"use strict";

window.costlab = {};

{
  const CALLS = { min: Math.min, max: Math.max, ceil: Math.ceil, floor: Math.floor, log2: Math.log2 };
  const TOKEN = /\s*(?:(\d+(?:\.\d*)?(?:e[+-]?\d+)?)|([a-z_]\w*)|(\*\*|[-+*/(),]))/iy;

  // The text as tokens: numbers, names and signs. Anything else is an error.
  function tokens(text) {
    const found = [];
    TOKEN.lastIndex = 0;
    for (let at = 0; text.slice(at).trim(); at = TOKEN.lastIndex) {
      const match = TOKEN.exec(text);
      if (!match) throw new Error(`expression may hold arithmetic alone, got ${text}`);
      const [, number, name, sign] = match;
      found.push(number ? { number: Number(number) } : name ? { name } : { sign });
    }
    return found;
  }

  // A function of the values of the names: as in Python, ** binds tighter than a sign before it, and to the right.
  function compile(text) {
    const rest = tokens(text);
    const next = (sign) => rest[0]?.sign === sign && rest.shift();
    const expect = (sign) => { if (!next(sign)) throw new Error(`expression lacks ${sign}: ${text}`); };

    function sum() {
      let left = product();
      for (;;) {
        const a = left;
        if (next("+")) { const b = product(); left = (v) => a(v) + b(v); }
        else if (next("-")) { const b = product(); left = (v) => a(v) - b(v); }
        else return left;
      }
    }
    function product() {
      let left = signed();
      for (;;) {
        const a = left;
        if (next("*")) { const b = signed(); left = (v) => a(v) * b(v); }
        else if (next("/")) { const b = signed(); left = (v) => a(v) / b(v); }
        else return left;
      }
    }
    function signed() {
      if (!next("-")) return power();
      const a = signed();
      return (v) => -a(v);
    }
    function power() {
      const a = atom();
      if (!next("**")) return a;
      const b = signed();
      return (v) => a(v) ** b(v);
    }
    function atom() {
      if (next("(")) { const inner = sum(); expect(")"); return inner; }
      const { number, name } = rest.shift() ?? {};
      if (number !== undefined) return () => number;
      if (name === undefined) throw new Error(`expression breaks off: ${text}`);
      if (!next("(")) return (v) => v[name];
      if (!Object.hasOwn(CALLS, name)) throw new Error(`expression may not call ${name}: ${text}`);
      const given = [sum()];
      while (next(",")) given.push(sum());
      expect(")");
      return (v) => CALLS[name](...given.map((one) => one(v)));
    }

    const whole = sum();
    if (rest.length) throw new Error(`expression goes on after its end: ${text}`);
    return whole;
  }

  // All formulas of the export as functions from inputs (an object that may hold more) to every step.
  function library(formulas) {
    const compiled = new Map(Object.entries(formulas).map(([name, { inputs, steps }]) => {
      const ready = Object.entries(steps).map(([step, text]) => [step, compile(text)]);
      return [name, { inputs: Object.keys(inputs), ready }];
    }));
    return function run(name, given, seen) {
      const { inputs, ready } = compiled.get(name);
      const values = {}, found = {};
      for (const key of inputs) {
        values[key] = given[key];
        if (values[key] === undefined) throw new Error(`${name} needs ${key}`);
      }
      const asked = seen && { ...values };
      for (const [step, value] of ready) found[step] = values[step] = value(values);
      seen?.set(name, { asked, found });
      return found;
    };
  }

  Object.assign(window.costlab, { compile, library });
}
