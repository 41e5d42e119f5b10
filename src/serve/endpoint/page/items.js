// All that has a tile: machines that came, and nodes that never did; in the order of their names.

// The most tiles and rows at a time. More would only be scrolled past, and takes a browser seconds.
const MOST_TILES = 1500;
const MOST_ROWS = 300;

const items = new Map();
// The same, sorted by rack and name; natural, so that n2 comes before n10.
let sorted = [];
const collator = new Intl.Collator('en', {numeric: true});

// The rack that a name says, and the rest: `r3-n10` is n10 of r3, `worker12` one of all that are called worker.
function placeOf(name) {
  const host = name.split('.')[0];
  const cut = Math.max(host.lastIndexOf('-'), host.lastIndexOf('_'));
  if (cut > 0 && cut < host.length - 1) return [host.slice(0, cut), host.slice(cut + 1)];
  const digits = host.search(/\d+$/);
  return [digits > 0 ? host.slice(0, digits) : host, host];
}

// A machine, or a node that never came, as all views show it.
function itemOf(machine, missing) {
  const {name, mac, uuid, group, profile} = machine || missing;
  const look = missing ? 'missing' : machine.stranger && machine.state !== 'failed' ? 'stranger' : machine.state;
  const title = name || machine?.mac || machine?.id || mac || uuid || group;
  const [rack, label] = name ? placeOf(name) : ['', title.length === 17 ? title.slice(-8) : title];
  // Those that nobody has named come last.
  const order = machine?.stranger ? 2 : name ? 0 : 1;
  const said = [name, machine?.id, mac, uuid, machine?.address, profile, group].filter(Boolean).join('\n').toLowerCase();
  return {key: missing ? `not seen ${title}` : machine.id, machine, missing, look, title, rack, label, order, said, mac, uuid, profile};
}

const byPlace = (a, b) => a.order - b.order || collator.compare(a.rack, b.rack) || collator.compare(a.title, b.title)
  || (a.key < b.key ? -1 : a.key > b.key ? 1 : 0);

function putItem(item) {
  const old = items.get(item.key);
  items.set(item.key, item);
  if (old && byPlace(old, item) === 0) {
    item.index = old.index;
    sorted[old.index] = item;
    return false;
  }
  fresh.push(item);
  return true;
}

// Items that are not in order yet.
let fresh = [];

// Puts `sorted` into order again after items came, went or changed their names.
function settle(gone) {
  if (!fresh.length && !gone.length) return false;
  gone.forEach((key) => items.delete(key));
  const rest = sorted.filter((item) => items.get(item.key) === item);
  fresh = fresh.filter((item) => items.get(item.key) === item).sort(byPlace);
  sorted = [];
  let next = 0;
  for (const item of rest) {
    while (next < fresh.length && byPlace(fresh[next], item) < 0) sorted.push(fresh[next++]);
    sorted.push(item);
  }
  sorted.push(...fresh.slice(next));
  sorted.forEach((item, index) => { item.index = index; });
  fresh = [];
  return true;
}

// An item by its key or, as a node that was missing comes under another key, by its name.
function itemFor(key) {
  const name = key.replace(/^not seen /, '');
  return items.get(key) || sorted.find(({title}) => title === name);
}

const isWanted = (item) => (!view.find || item.said.includes(view.find.trim().toLowerCase()))
  && (!view.state || item.look === view.state);

// The worst of many, so that a limit leaves out what is well.
function worst(some, most) {
  if (some.length <= most) return some;
  const kept = [];
  for (const look of RANK) {
    for (const item of some) {
      if (kept.length === most) break;
      if (item.look === look) kept.push(item);
    }
  }
  return kept.sort((a, b) => a.index - b.index);
}

const sayLook = (item) => item.missing ? 'not seen: it has not asked for anything'
  : item.machine.troubles.length ? `${LOOKS[item.look][2]}: ${item.machine.troubles[0].what}` : `${LOOKS[item.look][2]}: ${words(item.machine)}`;
