// Points at one trial everywhere it is shown: hover or tap a line, a dot, a bar or a row. Without it all is there, only still.
"use strict";
(() => {
  const told = document.getElementById("told");
  let lit = null;
  let pinned = false;

  const light = (trial, about) => {
    if (trial === lit) return;
    document.querySelectorAll(".lit").forEach((one) => one.classList.remove("lit"));
    lit = trial;
    document.body.classList.toggle("lighting", trial !== null);
    told.hidden = trial === null || !about;
    if (trial === null) return;
    document.querySelectorAll(`[data-trial="${Number(trial)}"]`).forEach((one) => {
      one.classList.add("lit");
      if (one.tagName !== "TR") one.parentNode.appendChild(one);
    });
    told.textContent = about;
  };

  const told_of = (mark) => {
    const own = mark.querySelector("title");
    if (own) return own.textContent;
    const other = document.querySelector(`path[data-trial="${Number(mark.dataset.trial)}"] title`);
    return other ? other.textContent : "";
  };

  document.addEventListener("pointerover", (event) => {
    if (pinned) return;
    const mark = event.target.closest("[data-trial]");
    light(mark ? mark.dataset.trial : null, mark ? told_of(mark) : "");
  });
  document.addEventListener("click", (event) => {
    const mark = event.target.closest("[data-trial]");
    pinned = Boolean(mark) && !(pinned && mark.dataset.trial === lit);
    light(pinned ? mark.dataset.trial : null, mark ? told_of(mark) : "");
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    pinned = false;
    light(null, "");
  });
})();
