// What is served: the document /served, fetched when somebody looks at it and when the build has changed; or, of a
// data directory, which has no builds, when some seconds have passed.

const FRESH = 10;
let served = null;
let servedOf = null;
let servedAt = 0;
let isFetching = false;

async function fetchServed() {
  const build = status && `${status.serving.name} ${status.serving.build} ${status.started}`;
  const isOld = status && !status.serving.build && performance.now() - servedAt > FRESH * 1000;
  if (!build || isFetching || servedOf === build && !isOld) return;
  isFetching = true;
  servedOf = build;
  servedAt = performance.now();
  try {
    const answer = await fetch('/served', {headers: {accept: 'application/json'}});
    if (!answer.ok) throw new Error(answer.statusText);
    served = await answer.json();
  } catch {
    servedOf = null;
  } finally {
    isFetching = false;
  }
  showServed();
}

const cell = (value, props = {}) => make('td', props, value);
const table = (caption, heads, lines, kind = '') => make('table', {class: `plain ${kind}`}, make('caption', {}, caption),
  make('thead', {}, make('tr', {}, heads.map((head) => make('th', {scope: 'col', class: head.startsWith('>') ? 'right' : null}, head.replace('>', ''))))),
  make('tbody', {}, lines));

const KINDS = {kernel: 'kernel', base: 'Flatcar’s initrd', early: 'early initrd', sysext: 'sysexts', image: 'container images', overlay: 'config and links', other: 'other'};

// A boot's parts in proportion: what it fetches, and what then lies in the machine's memory.
function boot(profile, largest) {
  const bar = make('div', {class: 'sizes', 'aria-hidden': 'true'});
  for (const {kind, name, size} of profile.parts) {
    const part = make('i', {class: `part-${kind}`, title: `${name}: ${bytes(size)}`});
    part.style.width = `${100 * size / Math.max(1, largest)}%`;
    bar.append(part);
  }
  const sums = new Map();
  for (const {kind, size} of profile.parts) sums.set(kind, (sums.get(kind) || 0) + size);
  const words = [...sums].map(([kind, size]) => make('span', {}, make('i', {class: `dot part-${kind}`}), `${KINDS[kind] || kind} ${bytes(size)}`));
  const sysexts = profile.parts.filter(({kind}) => kind === 'sysext').map(({name, version, size}) => `${name}${version ? ` ${version}` : ''} (${bytes(size)})`).join(', ');
  return make('tr', {}, make('th', {scope: 'row'}, profile.id, make('small', {}, [profile.arch, count(profile.machines, 'node'), profile.is_default && 'and all others'].filter(Boolean).join(', '))),
    cell([bar, make('p', {class: 'legend'}, words), sysexts && make('p', {class: 'soft'}, `sysexts: ${sysexts}`)]),
    cell(profile.loads === null ? 'unknown' : bytes(profile.loads), {class: 'right', title: 'what the loader fetches'}), cell(profile.memory === null ? '' : `${bytes(profile.memory)} RAM`, {class: 'right', title: 'the least memory that a boot needs'}));
}

function showServed() {
  if (view.tab !== 'served') return;
  if (!served) { morphInto($('served'), [make('p', {class: 'notice'}, 'Asking the server.')]); return; }
  const wanted = view.find.trim().toLowerCase();
  const has = (...words) => !wanted || words.some((word) => word && word.toLowerCase().includes(wanted));
  const {profiles, sysexts, nodes, endpoints} = served;
  const largest = Math.max(1, ...profiles.map(({parts: some}) => some.reduce((sum, {size}) => sum + size, 0)));
  const left = (all, shown) => all > shown ? `, the first ${number(shown)} of ${number(all)}` : '';
  const some = nodes.filter(({name, mac, uuid, profile}) => has(name, mac, uuid, profile)).slice(0, MOST_ROWS);
  morphInto($('served'), [
    make('dl', {class: 'build'}, [
      ['Build', [make('span', {class: 'mono'}, served.build || served.name), ' ', served.build && copier(served.build, 'copy')]],
      ['Releases', served.releases.map((release) => `Flatcar ${release}`).join(', ')], ['Inputs of', served.epoch && new Date(served.epoch).toLocaleString('en-GB', {dateStyle: 'medium', timeStyle: 'short'})],
      ['Files', served.files ? `${number(served.files)}, ${bytes(served.size)}` : null],
    ].filter(([, value]) => value).map(([title, value]) => [make('dt', {}, title), make('dd', {}, value)])),
    table(`What each boot loads, and the memory that it needs${left(served.profiles_total, profiles.length)}`, ['Profile', 'Parts', '>Loads', '>Needs'],
      profiles.filter(({id}) => has(id)).map((profile) => boot(profile, largest)), 'boots'),
    sysexts.length > 0 && table('Sysexts', ['Name', 'Version', 'Architecture', '>Size'], sysexts.filter(({name}) => has(name)).map(({name, version, arch, size}) =>
      make('tr', {}, make('th', {scope: 'row'}, name), cell(version), cell(arch), cell(bytes(size), {class: 'right'})))),
    nodes.length > 0 && table(`Nodes${left(served.nodes_total, some.length)}`, ['Name', 'MAC or UUID', 'Profile'], some.map(({name, mac, uuid, profile}) =>
      make('tr', {}, make('th', {scope: 'row'}, name), cell(mac || uuid || '', {class: 'mono'}), cell(profile)))),
    table('Endpoints', ['Path', 'Answer'], endpoints.map(({path, about}) => make('tr', {}, make('th', {scope: 'row', class: 'mono'}, path), cell(about)))),
  ]);
}
