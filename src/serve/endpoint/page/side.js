// What needs a look, beside the machines: troubles by kind, strangers, and nodes that never came.

const MOST_KINDS = 3;
const MOST_NAMES = 12;
const MOST_LOST = 40;
// How many kinds of trouble a wall shows at a time if there is room, and for how many seconds.
const WALL_KINDS = 5;
const WALL_SECONDS = 8;
// The first that it shows now, how many fit, and since when.
let wallTurn = {first: 0, shown: WALL_KINDS, since: 0};
// Keys of lists that a person has asked to see whole.
const expanded = new Set();

const nameLink = (item, title) => make('a', {href: addressOf({machine: item.key}), 'data-open': item.key, title}, item.title);
const more = (key, left, one) => make('button', {type: 'button', class: 'link', 'data-more': key, 'aria-expanded': String(expanded.has(key))},
  expanded.has(key) ? 'show fewer' : `and ${number(left)} more${one ? ` ${left === 1 ? one : `${one}s`}` : ''}`);

// Troubles of one kind are one entry: a switch that is down is one trouble, not forty. A machine may have several.
function kindsOfTrouble() {
  const kinds = new Map();
  for (const item of sorted) {
    for (const {kind, what, hint, several} of item.machine?.troubles || []) {
      if (!kinds.has(kind)) kinds.set(kind, {kind, what, hint, title: what, look: item.look, who: []});
      const entry = kinds.get(kind);
      // What differs is of one machine alone.
      if (entry.what !== what) entry.title = several;
      if (entry.hint !== hint) entry.hint = '';
      if (RANK.indexOf(item.look) < RANK.indexOf(entry.look)) entry.look = item.look;
      entry.who.push([item, what]);
    }
  }
  return [...kinds.values()].sort((a, b) => RANK.indexOf(a.look) - RANK.indexOf(b.look) || b.who.length - a.who.length);
}

function troubleOf({kind, title, hint, look, who}) {
  const key = `kind ${kind}`;
  const most = expanded.has(key) ? Infinity : MOST_NAMES;
  const names = who.slice(0, most).flatMap(([item, its]) => [nameLink(item, its), ' ']);
  return make('li', {class: look}, make('span', {class: 'sign', 'aria-hidden': 'true'}, LOOKS[look][0]), make('div', {},
    make('strong', {}, title), who.length > 1 && make('span', {class: 'many'}, ` ${count(who.length, 'machine')}`),
    hint && make('p', {class: 'hint'}, hint), make('p', {class: 'names'}, names, who.length > MOST_NAMES && more(key, who.length - MOST_NAMES))));
}

function showTroubles() {
  // Strangers have a place of their own, with more to do about them.
  const kinds = kindsOfTrouble().filter(({who}) => view.wall || who.some(([{look}]) => look !== 'stranger'));
  const ofCluster = partTroubles();
  const all = kinds.length + ofCluster.length;
  $('troubles').hidden = all === 0;
  setText($('troubles-title'), `Needs a look${all > 1 ? `: ${all} kinds` : ''}`);
  if (view.wall) { showWallTroubles([...ofCluster.map(asKind), ...kinds]); return; }
  const shown = [...ofCluster.slice(0, expanded.has('kinds') ? Infinity : MOST_KINDS).map(partTroubleOf),
    ...kinds.slice(0, expanded.has('kinds') ? Infinity : MOST_KINDS).map(troubleOf)];
  const left = Math.max(0, kinds.length - MOST_KINDS) + Math.max(0, ofCluster.length - MOST_KINDS);
  if (left > 0) shown.push(make('li', {class: 'rest'}, more('kinds', left, 'kind')));
  morphInto($('trouble-list'), shown);
}

// A trouble of the cluster as one of machines, for a wall.
const asKind = ({state, group, why, hint, parts: some}) => ({title: `${group}: ${why || STANDINGS[state][1]}`, hint, look: STANDINGS[state][2],
  who: some.map((part) => [{title: part.name}])});

// Large, and in turns where there are more than can be read from afar.
function showWallTroubles(kinds) {
  if (performance.now() - wallTurn.since > WALL_SECONDS * 1000) {
    wallTurn = {first: wallTurn.first + wallTurn.shown, shown: WALL_KINDS, since: performance.now()};
  }
  if (wallTurn.first >= kinds.length) wallTurn.first = 0;
  const {first} = wallTurn;
  morphInto($('trouble-list'), kinds.slice(first, first + WALL_KINDS).map(({title, hint, look, who}) => {
    const names = who.slice(0, 6).map(([item]) => item.title).join('  ');
    return make('li', {class: look}, make('span', {class: 'sign', 'aria-hidden': 'true'}, LOOKS[look][0]), make('div', {},
      make('strong', {}, title),
      make('p', {class: 'names'}, names, who.length > 6 && ` and ${number(who.length - 6)} more`), hint && make('p', {class: 'hint'}, hint)));
  }));
  const bottom = $('troubles').getBoundingClientRect().bottom;
  const entries = [...$('trouble-list').children];
  entries.forEach((entry, index) => { entry.hidden = index > 0 && entry.getBoundingClientRect().bottom > bottom; });
  wallTurn.shown = Math.max(1, entries.filter((entry) => !entry.hidden).length);
  if (wallTurn.shown < kinds.length) setText($('troubles-title'), `Needs a look: ${first + 1} to ${first + wallTurn.shown} of ${kinds.length} kinds`);
}

// A card that was changed makes a stranger and a missing node: side by side a person sees which belong together.
function showLost() {
  const strangers = sorted.filter(({look}) => look === 'stranger');
  const missing = sorted.filter(({look}) => look === 'missing');
  $('lost').hidden = view.wall || (!strangers.length && !missing.length);
  if ($('lost').hidden) return;
  const most = (key) => expanded.has(key) ? 10 * MOST_LOST : MOST_LOST / 4;
  const rest = (key, all) => all.length > MOST_LOST / 4 && make('li', {}, expanded.has(key) && all.length > 10 * MOST_LOST
    ? `and ${number(all.length - 10 * MOST_LOST)} more in the list` : more(key, all.length - MOST_LOST / 4));
  const entries = strangers.map(({machine}) => machine.entry).filter(Boolean).slice(0, 10 * MOST_LOST);
  setClass($('lost'), strangers.length && missing.length ? '' : 'single');
  morphInto($('lost'), [
    strangers.length > 0 && make('div', {}, make('h3', {}, `Strangers: ${number(strangers.length)}`),
      make('ul', {}, strangers.slice(0, most('strangers')).map((item) => make('li', {},
        nameLink(item), make('span', {class: 'soft'}, ` ${item.machine.address || ''}`),
        item.machine.entry && copier(item.machine.entry, 'copy line'))), rest('strangers', strangers)),
      strangers.length > 0 && !entries.length && make('p', {class: 'hint'}, strangers[0].machine.troubles[0]?.hint),
      entries.length > 0 && make('p', {}, make('code', {class: 'line'}, entries[0]), entries.length > 1 && copier(`${entries.join('\n')}\n`, `copy ${entries.length} lines`))),
    missing.length > 0 && make('div', {}, make('h3', {}, `Not seen: ${number(missing.length)}`),
      make('ul', {}, missing.slice(0, most('missing')).map((item) => make('li', {}, nameLink(item), make('span', {class: 'soft mono'}, ` ${item.mac || ''}`))),
        rest('missing', missing))),
  ]);
}

function showProblems() {
  const notes = [...status.problems];
  if (status.serving.reports === false && items.size) notes.push('No profile brings the sysext `report`, so nobody hears whether machines boot: “loaded” is as far as can be seen from here.');
  $('problems').hidden = notes.length === 0;
  morphInto($('problems'), notes.map((note) => make('p', {}, note)));
}
