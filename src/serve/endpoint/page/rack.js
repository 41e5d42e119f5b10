// The rack: one tile a machine, all on one screen.

const tiles = new Map();
const racks = new Map();
let current = null;
// The blocks on the screen with their numbers of tiles, the longest label, and the sizes that they have.
let blocks = [];
let longest = {most: 1, all: 1};
let planned = '';

const GAP = 3;
const BETWEEN = 14;
const HEAD = 20;
// The least height of a tile that a finger finds.
const FINGER = 24;

// Heights that a tile may have, and how many times as wide it is.
const HEIGHTS = [120, 104, 92, 80, 70, 62, 56, 50, 45, 40, 36, 32, 29, 27, 25, 23, 21, 20, 19, 18, 17, 16, 15, 14, 13, 12];
const ASPECTS = [1, 1.3, 1.7, 2.2, 2.8, 3.6, 4.6];

const fontOf = (height) => Math.max(9, Math.min(34, height > 40 ? Math.max(17, height * 0.32) : height * 0.52));
// The width of a tile with its sign and so many letters.
const labelWidth = (height, letters) => fontOf(height) * (0.62 * letters + 1.1) + 8;

// The largest tiles with which these racks fit: each rack is a block of columns, and blocks fill shelves from left to right.
function plan(sizes, letters, width, height, tallest) {
  const head = sizes.length > 1 ? letters.head : 0;
  const most = Math.max(1, ...sizes);
  const rows = [...new Set(Array.from({length: most}, (_, index) => Math.ceil(most / (index + 1))))];
  // The height of all shelves.
  const stack = (w, h, columns) => {
    let x = 0, y = 0, shelf = 0;
    for (let index = 0; index < sizes.length; index += 1) {
      const block = columns[index] * (w + GAP) - GAP;
      if (block > width) return Infinity;
      if (x && x + block > width) { y += shelf + BETWEEN; x = 0; shelf = 0; }
      x += block + BETWEEN;
      shelf = Math.max(shelf, head + Math.ceil(sizes[index] / columns[index]) * (h + GAP) - GAP);
    }
    return y + shelf;
  };
  let best = null;
  for (const h of HEIGHTS) {
    if (h > tallest) continue;
    for (const aspect of ASPECTS) {
      const w = Math.round(h * aspect);
      if (w > width || w < 13) continue;
      const fits = w >= labelWidth(h, letters.most);
      // A tile wider than its words helps nobody.
      const all = w >= labelWidth(h, letters.all);
      const score = Math.min(w, labelWidth(h, letters.most) * 1.6) * h * (all ? 9 : fits ? 6 : 1);
      if (best && score <= best.score) continue;
      for (const deep of rows) {
        const columns = sizes.map((size) => Math.ceil(size / deep));
        if (stack(w, h, columns) <= height) { best = {w, h, columns, head, score, fits}; break; }
      }
    }
  }
  if (best) {
    // What is left over makes them larger still.
    for (;;) {
      const h = best.h + 1;
      const w = best.fits ? Math.max(best.w, Math.ceil(labelWidth(h, letters.most))) : best.w;
      if (h > tallest || h > w || stack(w, h, best.columns) > height) break;
      best = {...best, w, h};
    }
    while (best.w < Math.max(labelWidth(best.h, letters.all), 2.2 * labelWidth(best.h, letters.most)) && stack(best.w + 1, best.h, best.columns) <= height) best.w += 1;
    return {...best, fits: best.w >= labelWidth(best.h, letters.most)};
  }
  // More than a screen holds: small ones, and the rack scrolls.
  const w = 16;
  const columns = sizes.map((size) => Math.max(1, Math.min(size, Math.floor((width + GAP) / (w + GAP)))));
  return {w, h: 14, columns, head, score: 0, fits: false};
}

// The machines that have tiles. All of them, unless there are too many: then those that are searched for, the worst first.
function tiled() {
  const some = sorted.length > MOST_TILES ? sorted.filter(isWanted) : sorted;
  return worst(some, MOST_TILES);
}

function rackTitle(item) {
  return item.order === 2 ? 'Strangers' : item.order === 1 ? 'Without a name' : item.rack;
}

// Groups by what a name begins with. Names that stand alone are put together.
function rackGroups(shown) {
  const groups = new Map();
  for (const item of shown) {
    const title = rackTitle(item);
    if (!groups.has(title)) groups.set(title, []);
    groups.get(title).push(item);
  }
  const single = [...groups].filter(([, {length}]) => length === 1);
  if (single.length > 1) {
    const others = single.flatMap(([title, list]) => { groups.delete(title); return list; });
    groups.set('Others', others.sort((a, b) => a.index - b.index));
  }
  return groups;
}

function newTile() {
  const mark = make('i', {'aria-hidden': 'true'});
  const label = make('b');
  const say = make('small', {'aria-hidden': 'true'});
  return {mark, label, say, node: make('button', {type: 'button', class: 'tile', tabindex: '-1'}, make('span', {}, mark, label), say)};
}

function fillTile(tile, item, label) {
  const dimmed = isWanted(item) ? '' : ' dim';
  const chosen = view.machine === item.key ? ' chosen' : '';
  setClass(tile.node, `tile ${item.look}${dimmed}${chosen}`);
  setText(tile.mark, LOOKS[item.look][0]);
  setText(tile.label, label);
  setText(tile.say, item.missing ? 'not seen' : item.machine.troubles.length && item.look !== 'stranger' ? LOOKS[item.look][1] : item.look === 'stranger' ? 'no group' : doing(item.machine));
  const fill = `${item.missing ? 0 : Math.round(progress(item.machine))}%`;
  if (tile.fill !== fill) { tile.fill = fill; tile.node.style.setProperty('--fill', fill); }
  setAttribute(tile.node, 'aria-label', `${item.title}, ${sayLook(item)}`);
}

// Only tiles of machines that changed are touched.
function fillTiles(keys) {
  for (const key of keys) {
    const tile = tiles.get(key);
    if (tile) fillTile(tile, items.get(key), tile.text);
  }
}

// Tiles, groups and sizes; after machines came or went, and when the window has changed.
function layRack() {
  const shown = tiled();
  const groups = rackGroups(shown);
  const kept = new Set();
  blocks = [];
  const lengths = [];
  for (const [title, list] of groups) {
    if (!racks.has(title)) {
      const grid = make('div', {class: 'grid'});
      const heading = make('h3', {});
      racks.set(title, {grid, heading, node: make('section', {class: 'block'}, heading, grid)});
    }
    const block = racks.get(title);
    const bad = list.filter((item) => NEEDS_A_LOOK.includes(item.look)).length;
    block.title = title;
    setAttribute(block.node, 'aria-label', `${title}, ${count(list.length, 'machine')}${bad ? `, ${count(bad, 'needs', 'need')} a look` : ''}`);
    const nodes = list.map((item) => {
      if (!tiles.has(item.key)) {
        const tile = newTile();
        tile.node.dataset.key = item.key;
        tiles.set(item.key, tile);
      }
      const tile = tiles.get(item.key);
      tile.text = title === 'Others' ? item.title : item.label;
      lengths.push(Math.min(12, tile.text.length));
      kept.add(item.key);
      fillTile(tile, item, tile.text);
      return tile.node;
    });
    arrange(block.grid, nodes);
    blocks.push([block, list.length]);
  }
  for (const key of tiles.keys()) if (!kept.has(key)) tiles.delete(key);
  for (const title of racks.keys()) if (!groups.has(title)) racks.delete(title);
  arrange($('rack'), blocks.map(([{node}]) => node));
  if (!tiles.has(current)) current = shown[0]?.key ?? null;
  if (current !== null) tiles.get(current).node.tabIndex = 0;
  // A few long names make all tiles wider only where there is room.
  lengths.sort((a, b) => a - b);
  longest = {most: lengths[Math.floor(0.95 * (lengths.length - 1))] || 1, all: lengths.at(-1) || 1};
  const left = sorted.length - shown.length;
  setText($('rack-note'), left > 0 ? `${number(left)} more have no tile: ${view.find || view.state ? 'they do not match, or are better off' : 'those here are the worst off'}. Search to see others.` : '');
  $('rack-note').hidden = left <= 0;
  sizeRack();
}

function sizeRack() {
  const room = $('rack').getBoundingClientRect();
  const box = getComputedStyle($('rack'));
  const width = room.width - parseFloat(box.paddingLeft) - parseFloat(box.paddingRight);
  const tall = room.height - parseFloat(box.paddingTop) - parseFloat(box.paddingBottom);
  if (width < 20 || (isFixed() && tall < 20)) return;
  const sizes = blocks.map(([, length]) => length);
  const letters = {...longest, head: view.wall ? 2 * HEAD : HEAD};
  const planFor = (height) => plan(sizes, letters, width, height, view.wall ? 120 : Math.max(62, innerHeight / 13));
  // Where the page scrolls, as on a phone, tiles are large enough for a finger.
  const screens = isFixed() ? [] : [0.7, 1, 1.5, 2, 3, 4, 6, 8, 12];
  const {w, h, columns, fits, head} = isFixed() ? planFor(tall)
    : screens.map((many) => () => planFor(many * innerHeight)).reduce((found, next) => found && found.h >= FINGER ? found : next(), null);
  const wide = h >= 40 && w >= fontOf(h) * 6;
  blocks.forEach(([block], index) => {
    const narrow = columns[index] * (w + GAP) < block.title.length * (view.wall ? 15 : 8);
    setText(block.heading, narrow && block.title === 'Strangers' ? LOOKS.stranger[0] : block.title);
    if (block.columns === columns[index]) return;
    block.columns = columns[index];
    block.grid.style.setProperty('--columns', columns[index]);
  });
  const now = [w, h, head, wide, fits].join();
  if (now === planned) return;
  planned = now;
  const style = $('rack').style;
  style.setProperty('--w', `${w}px`);
  style.setProperty('--h', `${h}px`);
  style.setProperty('--font', `${fontOf(h)}px`);
  style.setProperty('--head', `${head}px`);
  setClass($('rack'), `${fits ? '' : 'bare'}${wide ? ' roomy' : ''}${head ? '' : ' plain'}`.trim());
}

// One tile is in the order of the tab key; arrows go on from there.
function focusTile(key) {
  const tile = tiles.get(key);
  if (!tile) return;
  if (tiles.has(current)) tiles.get(current).node.tabIndex = -1;
  current = key;
  tile.node.tabIndex = 0;
  tile.node.focus();
}

function besides(key, direction) {
  const all = [...$('rack').querySelectorAll('.tile')];
  const index = all.findIndex((node) => node.dataset.key === key);
  if (direction === 'Home') return all[0];
  if (direction === 'End') return all.at(-1);
  if (direction === 'ArrowLeft') return all[index - 1];
  if (direction === 'ArrowRight') return all[index + 1];
  const from = all[index].getBoundingClientRect();
  const sign = direction === 'ArrowDown' ? 1 : -1;
  let best = null, least = Infinity;
  for (const node of all) {
    const to = node.getBoundingClientRect();
    const far = sign * (to.top - from.top);
    if (far < from.height / 2) continue;
    const distance = far + 3 * Math.abs(to.left - from.left);
    if (distance < least) { least = distance; best = node; }
  }
  return best;
}

// What a tile cannot hold, while the pointer or the focus is on it.
let told = null;
function tell(key) {
  told = key;
  const item = items.get(key);
  const tile = tiles.get(key);
  $('tip').hidden = !item || !tile;
  if ($('tip').hidden) return;
  const troubles = item.machine?.troubles || [];
  const machine = item.machine;
  const about = [machine?.address, item.mac !== item.title && item.mac, item.profile].filter(Boolean).join(' · ');
  morphInto($('tip'), [
    make('p', {}, make('span', {class: `sign ${item.look}`}, LOOKS[item.look][0]), ' ', make('b', {}, item.title), ` ${LOOKS[item.look][2]}`),
    make('p', {}, item.missing ? 'It has not asked for anything.' : troubles.length ? troubles.map(({what}) => make('span', {class: 'line'}, what)) : words(machine)),
    make('p', {class: 'soft mono'}, about),
  ]);
  const box = tile.node.getBoundingClientRect();
  const {width, height} = $('tip').getBoundingClientRect();
  const below = box.bottom + 6 + height < innerHeight;
  $('tip').style.left = `${Math.max(8, Math.min(innerWidth - width - 8, box.left))}px`;
  $('tip').style.top = `${below ? box.bottom + 6 : Math.max(8, box.top - height - 6)}px`;
}

const tileOf = (event) => event.target.closest?.('.tile');
$('rack').addEventListener('mouseover', (event) => tell(tileOf(event)?.dataset.key ?? null));
$('rack').addEventListener('mouseleave', () => tell(null));
$('rack').addEventListener('focusin', (event) => { if (tileOf(event)?.matches(':focus-visible')) tell(tileOf(event).dataset.key); });
$('rack').addEventListener('focusout', () => tell(null));
$('rack').addEventListener('scroll', () => tell(null));
$('rack').addEventListener('click', (event) => {
  const tile = tileOf(event);
  if (!tile) return;
  tell(null);
  if (tiles.has(current)) tiles.get(current).node.tabIndex = -1;
  current = tile.dataset.key;
  tile.tabIndex = 0;
  go({machine: tile.dataset.key});
});
$('rack').addEventListener('keydown', (event) => {
  const tile = tileOf(event);
  if (!tile || !/^(Arrow|Home$|End$)/.test(event.key) || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  const next = besides(tile.dataset.key, event.key);
  if (next) focusTile(next.dataset.key);
});
