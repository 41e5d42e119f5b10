// The detail of one machine. It is made again every second and with every change, and only what differs is touched.

// What /explain says of the machine that is open: its script and config, without a request that would count as its own.
let explained = null;
// Texts that were copied a moment ago.
let copied = null;
// The element that had the focus before.
let cameFrom = null;

const labelsOf = (item) => {
  const said = {mac: item.mac, uuid: item.uuid, arch: item.machine?.arch};
  return new URLSearchParams(Object.entries(said).filter(([, value]) => value)).toString();
};

const copier = (text, title) => make('button', {type: 'button', class: 'small', 'data-copy': text}, copied?.text === text ? copied.said : title);

async function copy(text) {
  let said = 'copied';
  try {
    // Browsers have the clipboard only where the server has a certificate.
    if (navigator.clipboard) await navigator.clipboard.writeText(text);
    else {
      const field = make('textarea', {class: 'unseen', readonly: true});
      field.value = text;
      const focus = document.activeElement;
      document.body.append(field);
      field.focus();
      field.select();
      if (!document.execCommand('copy')) said = 'select and copy it by hand';
      field.remove();
      focus?.focus();
    }
  } catch { said = 'select and copy it by hand'; }
  copied = {text, said};
  render();
  setTimeout(() => { copied = null; render(); }, 2000);
}

async function explain(item) {
  const key = item.key;
  explained = {key};
  try {
    const answer = await fetch(`/explain?${labelsOf(item)}`, {headers: {accept: 'application/json'}});
    const {script, ignition, doubts} = await answer.json();
    if (explained?.key === key) explained = {key, script, ignition, doubts};
  } catch { if (explained?.key === key) explained = {key, failed: true}; }
  render();
}

// The stages with their times, and the parts that are not seen here.
function gantt(machine) {
  const begins = machine.steps.map((step) => at(step.began));
  const ends = machine.steps.map((step) => step.ended ? at(step.ended) : now());
  const start = Math.min(...begins), end = Math.max(...ends, start + 1);
  return make('div', {class: 'gantt'}, parts(machine).map((part, index) => {
    if (part.kind === 'absent') return [make('span', {}, part.title), make('span', {class: 'soft'}, `not here: ${part.why}`), make('span')];
    return machine.steps.filter((step) => PARTS[index][1].includes(step.stage)).map((step) => {
      const from = at(step.began), until = step.ended ? at(step.ended) : now();
      const bar = make('b');
      bar.style.left = `${Math.min(99, 100 * (from - start) / (end - start))}%`;
      bar.style.width = `${Math.max(0, 100 * (until - from) / (end - start))}%`;
      const time = until - from >= 0.1 ? span(until - from) : clock(from);
      const running = !step.ended && !['done', 'loaded'].includes(machine.state);
      return [make('span', {}, step.stage), make('div', {class: running ? 'lane now' : 'lane', 'aria-hidden': 'true'}, bar),
        make('span', {title: step.began}, time)];
    });
  }));
}

function files(machine) {
  return make('ul', {class: 'files'}, machine.files.map((file) => {
    const broke = file.is_over && file.sent < file.length;
    const bad = file.status >= 400 || broke;
    const size = broke || !file.is_over ? `${bytes(file.sent)} of ${bytes(file.length)}` : bytes(file.sent);
    const tries = file.times > 1 ? `, ${file.times} times` : '';
    const result = file.status >= 400 ? `refused (${file.status})` : `${size}, ${bytes(file.rate)}/s${broke ? ', aborted' : ''}`;
    return make('li', {class: bad ? 'bad' : null}, make('span', {class: 'mono', title: `/${file.path}`}, file.path.split('/').at(-1) || '/'), make('span', {}, result + tries));
  }));
}

function facts(item) {
  const {machine, missing} = item;
  const some = machine || missing;
  const report = machine?.report && `${machine.report.stage}${machine.report.detail ? `: ${machine.report.detail}` : ''}`;
  return make('dl', {}, [
    ['Address', some.address], ['MAC', some.mac && [make('span', {class: 'mono'}, some.mac), ' ', copier(some.mac, 'copy')]],
    ['UUID', some.uuid], ['Calls itself', some.hostname === some.name ? null : some.hostname], ['Firmware', some.firmware], ['Architecture', some.arch], ['Group', some.group],
    ['Profile', some.profile], ['Boots', some.boots], ['Report', report], ['Kubernetes node', nodeFact(item)],
    ['Last seen', machine && `${span(Math.round(now() - at(machine.last_seen)))} ago`],
  ].filter(([, value]) => value).map(([title, value]) => [make('dt', {}, title), make('dd', {}, typeof value === 'number' ? String(value) : value)]));
}

function sent(title, answer) {
  if (!answer) return [];
  const text = answer.text ?? (answer.why || `${bytes(answer.size)}; too long to show here`);
  return [make('h4', {}, `${title}: ${answer.status}, ${bytes(answer.size)}`), make('pre', {tabindex: '0'}, text)];
}

function answers(item) {
  const query = labelsOf(item);
  if (!query) return [];
  const links = make('p', {class: 'links'},
    make('button', {type: 'button', class: 'small', 'data-explain': item.key}, explained?.key === item.key ? 'hide script and config' : 'show script and config'),
    make('a', {href: `/explain?${query}`, target: '_blank', rel: 'noopener'}, 'why it gets this'));
  if (explained?.key !== item.key) return [links];
  if (explained.failed) return [links, make('p', {}, 'The server did not answer.')];
  return [links, ...(explained.doubts || []).map((doubt) => make('p', {class: 'hint'}, doubt)),
    ...sent('Script', explained.script), ...sent('Config', explained.ignition)];
}

function detailOf(item) {
  const {machine} = item;
  const troubles = machine?.troubles || [];
  const log = machine?.report?.log;
  return [
    make('div', {class: 'detail-head'},
      make('h2', {id: 'detail-title', tabindex: '-1'}, make('span', {class: `sign ${item.look}`, 'aria-hidden': 'true'}, LOOKS[item.look][0]), ' ', item.title,
        make('small', {}, LOOKS[item.look][2], machine ? [machine.state === 'failed' ? '' : `: ${words({...machine, troubles: []})}`, make('br'), `since ${clock(at(machine.since))}, for ${span(Math.round(now() - at(machine.since)))}`] : '')),
      make('button', {type: 'button', class: 'small', 'data-close': true, title: 'Close (Esc)'}, 'close')),
    item.missing && make('p', {class: 'trouble'}, make('strong', {}, 'It has not asked for anything.'), make('span', {class: 'hint'},
      ' Is it on, does it boot over the network, and is its MAC address still this one? A card that was changed comes as a stranger.')),
    troubles.map(({what, hint}) => make('p', {class: 'trouble'}, make('strong', {}, what), make('span', {class: 'hint'}, hint))),
    machine?.entry && make('div', {class: 'entry'}, make('span', {}, 'To give it a name, below ', make('code', {}, 'nodes:'), ':'), make('code', {class: 'line'}, machine.entry), copier(machine.entry, 'copy line')),
    log && [make('h3', {}, 'The end of its log'), make('pre', {tabindex: '0', class: 'log'}, log)],
    machine?.steps.length ? [make('h3', {}, 'Stages'), gantt(machine)] : null,
    make('h3', {}, 'Details'), facts(item),
    machine?.files.length ? [make('h3', {}, 'Fetched'), files(machine)] : null,
    make('h3', {}, 'Answers'), make('div', {class: 'answers'}, answers(item)),
  ];
}

function showDetail() {
  const item = view.machine && itemFor(view.machine);
  const was = !$('detail').hidden;
  $('detail').hidden = !view.machine || view.wall;
  document.body.classList.toggle('open', !$('detail').hidden);
  if ($('detail').hidden) {
    if (was) { $('detail').replaceChildren(); cameFrom?.isConnected && cameFrom.focus(); cameFrom = null; }
    return;
  }
  $('detail').className = item ? item.look : '';
  morphInto($('detail'), make('div', {}, item ? detailOf(item) : [
    make('div', {class: 'detail-head'}, make('h2', {id: 'detail-title', tabindex: '-1'}, view.machine), make('button', {type: 'button', class: 'small', 'data-close': true}, 'close')),
    make('p', {}, status ? 'This server has not seen such a machine.' : '')]).childNodes);
  if (!was) {
    cameFrom = document.activeElement;
    $('detail').scrollTop = 0;
    $('detail-title').focus();
  }
}

// Links and buttons say in their data what they do, so that nodes can be made again at any time.
document.addEventListener('click', (event) => {
  const target = event.target.closest('[data-open], [data-copy], [data-close], [data-explain], [data-tab], [data-state], [data-more]');
  if (!target || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const {open, copy: text, explain: key, tab, state, more} = target.dataset;
  event.preventDefault();
  if (open !== undefined) go({machine: open});
  else if (text !== undefined) copy(text);
  else if (key !== undefined) {
    if (explained?.key === key) { explained = null; render(); } else explain(items.get(key));
  }
  else if (tab !== undefined) go({tab, machine: null});
  else if (state !== undefined) go({state: view.state === state ? null : state});
  else if (more !== undefined) { if (!expanded.delete(more)) expanded.add(more); render(); }
  else go({machine: null});
});
document.addEventListener('keydown', (event) => {
  if (event.key !== 'Escape') return;
  if (told !== null) tell(null);
  else if (view.machine) go({machine: null});
});
