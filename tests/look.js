// What test_browser.py wants to know about the page that is open.
(async () => {
  await new Promise(done => document.readyState === "complete" ? done() : onload = done);
  if (window.MathJax && MathJax.startup) await MathJax.startup.promise;
  if (window.MathJax && MathJax.startup) await MathJax.startup.document.lazyTypesetAll?.();
  for (const image of document.images) image.loading = "eager";
  for (const image of document.images) await image.decode().catch(() => 0);
  await new Promise(done => setTimeout(done, 150));
  const found = window.axe ? (await axe.run(document, {resultTypes: ["violations"]})).violations : [];
  return {
    width: document.documentElement.scrollWidth,
    view: document.documentElement.clientWidth,
    searches: document.querySelectorAll("input[type=search], input[name=q]").length,
    images: [...document.images].map(i => [i.getAttribute("src"), i.alt, i.getAttribute("width"),
      i.getAttribute("height"), i.naturalWidth]),
    faults: found.filter(v => ["serious", "critical"].includes(v.impact))
      .map(v => v.id + ": " + v.nodes[0].html.slice(0, 120)),
    math: document.querySelectorAll("span.math, div.math").length,
    drawn: document.querySelectorAll("mjx-container mjx-math").length,
    column: document.querySelector("article p")?.getBoundingClientRect().width ?? 0,
    theme: document.documentElement.dataset.theme,
    paper: getComputedStyle(document.body).backgroundColor,
  };
})()
