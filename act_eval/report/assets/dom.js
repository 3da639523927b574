// Making elements. Texts become text nodes: nothing that comes from a run folder is ever parsed as HTML.

const SVG = "http://www.w3.org/2000/svg";

function element(node, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

const h = (tag, properties, ...children) => element(document.createElement(tag), properties, children);
const s = (tag, properties, ...children) => element(document.createElementNS(SVG, tag), properties, children);
const byId = (id) => document.getElementById(id);
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const range = (count) => Array.from({ length: count }, (_, i) => i);
const words = (name) => name.replaceAll("_", " ");
const cssValue = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const plural = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
const isNumber = (value) => typeof value === "number";
