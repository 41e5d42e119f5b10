// The cluster that the machines form: a strip above the machines, and a tab with all of its parts. A server that forms none
// has neither.

// How a part is: its sign, its word, and the look whose colour it has. The worst first.
const STANDINGS = {
  failed: ['!', 'failed', 'failed'], late: ['?', 'late', 'stuck'], coming: ['›', 'coming', 'working'],
  awaited: ['○', 'awaited', 'missing'], ready: ['✓', 'ready', 'done'],
};
const STANDING_RANK = Object.keys(STANDINGS);
const PHASES = {
  machines: 'Waiting for machines', control: 'Waiting for the API server', nodes: 'Waiting for nodes to be ready',
  addons: 'Waiting for add-ons', settling: 'All is ready; watching whether it stays so', complete: 'Complete', failed: 'Given up',
};
// The groups in the order in which they come to be: their key, their title, and a short one.
const GROUPS = [['api', 'API server', 'API'], ['members', 'etcd', 'etcd'], ['nodes', 'Nodes', 'nodes'], ['pods', 'Pods', 'pods'], ['addons', 'Add-ons', 'add-ons']];

let cluster = null;

const standingOf = ({total, ready, parts: some}) => {
  const worst = some[0]?.state ?? 'awaited';
  if (['failed', 'late'].includes(worst)) return worst;
  if (total && ready === total) return 'ready';
  return some.some(({state}) => ['coming', 'ready'].includes(state)) ? 'coming' : 'awaited';
};
const partSign = (state) => make('span', {class: `sign ${STANDINGS[state][2]}`, role: 'img', 'aria-label': STANDINGS[state][1]}, STANDINGS[state][0]);
const partAge = (part) => span(Math.round(now() - at(part.since)));
const troubledParts = () => cluster ? GROUPS.flatMap(([key, title]) => cluster[key].parts
  .filter(({state}) => ['failed', 'late'].includes(state)).map((part) => ({...part, group: title}))) : [];
const nodeNamed = (name) => cluster?.nodes.parts.find((part) => part.name === name);
const machineNamed = (name) => sorted.find((item) => item.title === name);

// A part's name; that of a node leads to its machine.
const partName = (part, key) => {
  const item = key === 'nodes' && machineNamed(part.name);
  return item ? nameLink(item) : make('b', {}, part.name);
};

function showStrip() {
  $('cluster').hidden = !cluster;
  for (const link of document.querySelectorAll('#tabs a[data-tab=cluster]')) link.hidden = !cluster;
  if (!cluster) return;
  const {phase} = cluster;
  const look = phase === 'failed' ? 'failed' : phase === 'complete' ? 'done' : 'working';
  setClass($('cluster'), look);
  const said = phase === 'complete' ? `Complete since ${clock(at(cluster.since))}` : `${PHASES[phase] || phase}, for ${span(Math.round(now() - at(cluster.since)))}`;
  morphInto($('cluster'), [
    make('div', {class: 'phase'}, make('p', {}, make('b', {}, `Kubernetes ${cluster.version}`), ' ', make('span', {class: 'soft'}, cluster.endpoint)),
      make('p', {class: 'said', role: 'status'}, cluster.ask || said, cluster.ask && make('span', {class: 'soft'}, ` ${said}`))),
    make('div', {class: 'steps'}, GROUPS.map(([key, title, short]) => {
      const {total, ready} = cluster[key];
      const state = standingOf(cluster[key]);
      const [sign, word, colour] = STANDINGS[state];
      const bar = make('i', {class: 'bar-of', 'aria-hidden': 'true'}, make('u'));
      bar.firstChild.style.width = `${total ? 100 * ready / total : 0}%`;
      return make('a', {href: addressOf({tab: 'cluster', machine: null}), 'data-tab': 'cluster', class: `step ${colour}`,
        'aria-label': `${title}: ${total ? `${ready} of ${total} ready` : 'none yet'}${['failed', 'late'].includes(state) ? `, some ${word}` : ''}`},
      make('b', {}, total ? `${number(ready)}/${number(total)}` : '–'), make('span', {}, make('i', {'aria-hidden': 'true'}, sign), ` ${short}`), bar);
    })),
  ]);
}

function partRow(part, key) {
  const bad = ['failed', 'late'].includes(part.state);
  const about = [key === 'pods' ? '' : part.kind, part.version, part.node && part.node !== part.name && `on ${part.node}`].filter(Boolean).join(' · ');
  return make('li', {class: `part ${STANDINGS[part.state][2]}${bad ? ' bad' : ''}`},
    partSign(part.state),
    make('div', {}, make('p', {class: 'part-name'}, partName(part, key), about && make('span', {class: 'soft'}, ` ${about}`)),
      part.why && make('p', {class: 'why'}, part.why), bad && part.hint && make('p', {class: 'hint'}, part.hint)),
    make('span', {class: 'age', title: part.since}, partAge(part)));
}

function showFormation() {
  if (view.tab !== 'cluster') return;
  if (!cluster) { morphInto($('formation'), [make('p', {class: 'notice'}, 'This server forms no cluster: prebake cluster init does.')]); return; }
  const wanted = view.find.trim().toLowerCase();
  const has = (part) => !wanted || [part.name, part.kind, part.node, part.version, part.why, STANDINGS[part.state][1]].some((word) => word && word.toLowerCase().includes(wanted));
  morphInto($('formation'), [
    cluster.kubeconfig && make('p', {class: 'kubeconfig'}, 'Kubeconfig: ', make('code', {}, cluster.kubeconfig), ' ', copier(`export KUBECONFIG=${cluster.kubeconfig}`, 'copy export')),
    GROUPS.map(([key, title]) => {
      const {total, ready, parts: all} = cluster[key];
      const some = all.filter(has);
      const shown = some.slice(0, MOST_ROWS);
      const left = (wanted ? some.length : total) - shown.length;
      return make('section', {class: 'group', 'aria-label': title}, make('h2', {}, partSign(standingOf(cluster[key])), ` ${title}`,
        make('small', {}, total ? ` ${number(ready)} of ${number(total)} ready` : ' none yet')),
      shown.length > 0 && make('ul', {}, shown.map((part) => partRow(part, key))),
      left > 0 && make('p', {class: 'soft'}, `${number(left)} more, which are better off`));
    }),
  ].flat().filter(Boolean));
}

// Parts that are late, beside the machines that need a look; those with the same reason are one entry.
function partTroubles() {
  const kinds = new Map();
  for (const part of troubledParts()) {
    const key = `${part.group}\n${part.why}\n${part.hint}`;
    if (!kinds.has(key)) kinds.set(key, {...part, parts: []});
    kinds.get(key).parts.push(part);
  }
  return [...kinds.values()].sort((a, b) => STANDING_RANK.indexOf(a.state) - STANDING_RANK.indexOf(b.state) || b.parts.length - a.parts.length);
}

function partTroubleOf({state, group, why, hint, parts: some}) {
  const look = STANDINGS[state][2];
  const names = some.slice(0, MOST_NAMES).flatMap((part) => [partName(part, part.group === 'Nodes' ? 'nodes' : ''), ' ']);
  return make('li', {class: look}, make('span', {class: 'sign', 'aria-hidden': 'true'}, STANDINGS[state][0]), make('div', {},
    make('strong', {}, `${group}: ${why || STANDINGS[state][1]}`), some.length > 1 && make('span', {class: 'many'}, ` ${number(some.length)} of them`),
    hint && make('p', {class: 'hint'}, hint), make('p', {class: 'names'}, names, some.length > MOST_NAMES && `and ${number(some.length - MOST_NAMES)} more`)));
}

// A machine's node, for its detail.
function nodeFact(item) {
  const part = item.machine && nodeNamed(item.title);
  if (!part) return null;
  return `${STANDINGS[part.state][1]}${part.version ? `, ${part.version}` : ''}${part.why ? `: ${part.why}` : ''}`;
}
