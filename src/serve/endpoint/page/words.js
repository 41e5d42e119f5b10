'use strict';
// Words, units and nodes. Everything that machines say becomes text nodes; nothing here makes markup of it.

const $ = (id) => document.getElementById(id);

// How a machine looks: its sign, so that colour is never alone, its word below a count, and its word in a sentence.
// The worst first.
const LOOKS = {
  failed: ['!', 'failed', 'failed'], stuck: ['?', 'stuck', 'stuck'], stranger: ['≠', 'strangers', 'a stranger'],
  missing: ['○', 'not seen', 'not seen yet'], working: ['›', 'working', 'working'],
  loaded: ['↓', 'loaded', 'loaded'], done: ['✓', 'done', 'done'],
};
const RANK = Object.keys(LOOKS);
const NEEDS_A_LOOK = ['failed', 'stuck', 'stranger'];
// A boot from afar: six parts, each of one stage or several, and why a part may not be seen here.
const PARTS = [
  ['network', ['dhcp', 'tftp'], 'another server lends addresses'], ['script', ['script'], 'it came from elsewhere'],
  ['kernel', ['kernel'], 'it came from elsewhere'], ['initrd', ['initrd'], 'it came from elsewhere'],
  ['config', ['ignition'], 'it came with the initrd'],
  ['system', ['disk', 'installing', 'installed', 'booted', 'images', 'kubeadm', 'joined'], 'it sends no report'],
];
const TITLES = {
  dhcp: 'got an address', tftp: 'fetched its loader', script: 'fetched its script', disk: 'boots from its disk',
  kernel: 'kernel', initrd: 'initrd', ignition: 'fetched its config', installing: 'is installing',
  installed: 'installed', booted: 'booted', images: 'waits for its images', kubeadm: 'runs kubeadm', joined: 'joined its cluster',
};

// A node with attributes and children. Attributes that are null or false are left out.
function make(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === 'class') node.className = value;
    else node.setAttribute(key, value === true ? '' : value);
  }
  node.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

const setText = (node, text) => { if (node.textContent !== text) node.textContent = text; };
const setClass = (node, text) => { if (node.className !== text) node.className = text; };
const setAttribute = (node, key, value) => { if (node.getAttribute(key) !== value) node.setAttribute(key, value); };

// Makes a node like a fresh one and touches only what differs, so that focus, selection and scrolling stay.
function morph(node, fresh) {
  if (node.nodeName !== fresh.nodeName || node.nodeType !== fresh.nodeType) { node.replaceWith(fresh); return; }
  if (node.nodeType === Node.TEXT_NODE) { if (node.data !== fresh.data) node.data = fresh.data; return; }
  for (const {name} of [...node.attributes]) {
    if (name !== 'style' && !fresh.hasAttribute(name)) node.removeAttribute(name);
  }
  for (const {name, value} of fresh.attributes) if (name !== 'style') setAttribute(node, name, value);
  // The page's policy forbids the attribute, and not the property.
  if (node.style.cssText !== fresh.style.cssText) node.style.cssText = fresh.style.cssText;
  morphInto(node, fresh.childNodes);
}

function morphInto(parent, fresh) {
  const wanted = [...fresh].filter(Boolean).map((node) => typeof node === 'string' ? document.createTextNode(node) : node);
  const old = [...parent.childNodes];
  wanted.forEach((node, index) => index < old.length ? morph(old[index], node) : parent.append(node));
  old.slice(wanted.length).forEach((node) => node.remove());
}

// Puts nodes into this order; those that stay where they are are not touched.
function arrange(parent, nodes) {
  let place = parent.firstChild;
  for (const node of nodes) {
    if (place === node) place = place.nextSibling;
    else parent.insertBefore(node, place);
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}

// Sizes are binary everywhere, as in the terminal.
function bytes(count) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  while (count >= 1023.5 && unit < units.length - 1) { count /= 1024; unit += 1; }
  return `${unit === 0 || count >= 99.95 ? Math.round(count) : count.toFixed(1)} ${units[unit]}`;
}

function span(seconds) {
  if (seconds > 0.05 && seconds < 9.95) return `${seconds.toFixed(1)} s`;
  seconds = Math.max(0, Math.round(seconds));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor(seconds / 60) % 60} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor(seconds / 3600) % 24} h`;
}

const number = (value) => value.toLocaleString('en');
const count = (value, one, many = `${one}s`) => `${number(value)} ${value === 1 ? one : many}`;
const at = (stamp) => Date.parse(stamp) / 1000;
const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString('en-GB');
const percent = (step) => step.of ? Math.min(100, Math.floor(100 * step.sent / step.of)) : 0;

// The whole rack below one number: how far a boot is, of a hundred. Kernel and initrd are most of what takes time.
function progress(machine) {
  if (['done', 'loaded'].includes(machine.state)) return 100;
  const step = machine.steps.at(-1);
  if (!step) return 0;
  const within = (step.ended ? 100 : percent(step)) / 100;
  switch (step.stage) {
    case 'dhcp': case 'tftp': return 5;
    case 'script': return 10;
    case 'kernel': return 10 + 15 * within;
    case 'initrd': return 25 + 55 * within;
    case 'ignition': return 85;
    default: return 92;
  }
}

// What a machine does, in a few words.
function doing(machine) {
  const step = machine.steps.at(-1);
  if (!step) return machine.files.length ? 'only fetched files' : 'has an address';
  if (machine.waits) return 'waits in the queue';
  if (step.stage === 'initrd' && step.of && step.sent >= step.of) return 'initrd complete';
  if (step.ended || step.rate === null) return TITLES[step.stage] + (step.of && !step.ended ? ` ${percent(step)} %` : '');
  return `${TITLES[step.stage]} ${percent(step)} %`;
}

function words(machine) {
  if (machine.troubles.length) return machine.troubles[0].what;
  const step = machine.steps.at(-1);
  if (!step || machine.waits || step.ended || step.rate === null || step.sent >= step.of && step.of) return doing(machine);
  const eta = step.eta === null ? '' : `, ${span(step.eta)} left`;
  return `${doing(machine)} of ${bytes(step.of || step.sent)}, ${bytes(step.rate)}/s${eta}`;
}

// Which of the six parts a machine has come to: `seen`, `now`, `absent` (it went on without it) or `ahead`.
function parts(machine) {
  const rests = ['done', 'loaded'].includes(machine.state);
  const steps = PARTS.map(([, stages]) => machine.steps.filter((step) => stages.includes(step.stage)));
  const furthest = steps.findLastIndex((some) => some.length);
  return PARTS.map(([title, , why], index) => {
    const last = steps[index].at(-1);
    if (!last) return {title, why, kind: index < furthest || rests ? 'absent' : 'ahead', share: 0};
    const kind = last.stage === machine.stage && !rests ? 'now' : 'seen';
    return {title, why, kind, share: last.ended ? 100 : Math.max(8, percent(last))};
  });
}
