// The list: one row a machine, sorted by any column.

const rows = new Map();

const COLUMNS = {
  machine: (a, b) => a.index - b.index,
  address: (a, b) => collator.compare(a.machine?.address || '~', b.machine?.address || '~'),
  profile: (a, b) => collator.compare(a.profile || '~', b.profile || '~'),
  state: (a, b) => RANK.indexOf(a.look) - RANK.indexOf(b.look),
  boot: (a, b) => (a.machine ? progress(a.machine) : -1) - (b.machine ? progress(b.machine) : -1),
  for: (a, b) => (b.machine ? at(b.machine.since) : 0) - (a.machine ? at(a.machine.since) : 0),
};

function newRow(item) {
  const cell = (props = {}, ...children) => make('td', {role: 'cell', ...props}, ...children);
  const row = {sign: make('span', {class: 'sign', role: 'img'}), name: make('b'), below: make('small')};
  row.open = make('a', {class: 'who', 'data-open': item.key}, row.sign, make('span', {}, row.name, row.below));
  row.address = cell({class: 'mono'});
  row.profile = cell();
  row.bars = PARTS.map(([title]) => make('i', {title}, make('b')));
  row.words = make('div', {class: 'words'});
  row.boot = cell({}, make('div', {class: 'track', 'aria-hidden': 'true'}, row.bars), row.words);
  row.since = cell({class: 'right'});
  row.node = make('tr', {role: 'row'}, cell({}, row.open), row.address, row.profile, row.boot, row.since);
  return row;
}

function fillRow(row, item) {
  const {machine} = item;
  const [sign, , title] = LOOKS[item.look];
  setClass(row.node, `machine ${item.look}${view.machine === item.key ? ' chosen' : ''}`);
  setText(row.sign, sign);
  setAttribute(row.sign, 'aria-label', title);
  setText(row.name, item.title);
  setText(row.below, machine ? (item.title === machine.id ? machine.firmware || '' : machine.id) : item.mac || item.uuid || '');
  setAttribute(row.open, 'href', addressOf({machine: item.key}));
  setText(row.address, machine?.address || '');
  setText(row.profile, item.profile || '');
  const shown = machine ? parts(machine) : PARTS.map(([name]) => ({title: name, kind: 'ahead', share: 0}));
  shown.forEach((part, index) => {
    const bar = row.bars[index];
    setClass(bar, part.kind);
    setAttribute(bar, 'title', part.kind === 'absent' ? `${part.title}: not here` : part.title);
    const width = `${part.share}%`;
    if (bar.firstChild.style.width !== width) bar.firstChild.style.width = width;
  });
  setText(row.words, machine ? words(machine) : 'not seen yet');
  age(row, item);
}

const age = (row, item) => setText(row.since, item.machine ? span(Math.round(now() - at(item.machine.since))) : '');

function fillRows(keys) {
  for (const key of keys) if (rows.has(key)) fillRow(rows.get(key), items.get(key));
}

function layList() {
  const [column, sign] = view.sort.startsWith('-') ? [view.sort.slice(1), -1] : [view.sort, 1];
  const compare = COLUMNS[column] || COLUMNS.state;
  const wanted = sorted.filter(isWanted).sort((a, b) => sign * compare(a, b) || a.index - b.index);
  const shown = wanted.slice(0, MOST_ROWS);
  const kept = new Set(shown.map(({key}) => key));
  for (const key of rows.keys()) if (!kept.has(key)) rows.delete(key);
  arrange($('machines'), shown.map((item) => {
    if (!rows.has(item.key)) rows.set(item.key, newRow(item));
    fillRow(rows.get(item.key), item);
    return rows.get(item.key).node;
  }));
  for (const button of document.querySelectorAll('#list th button')) {
    const its = button.dataset.sort === column;
    setAttribute(button.parentNode, 'aria-sort', its ? (sign > 0 ? 'ascending' : 'descending') : 'none');
  }
  const hidden = wanted.length - shown.length;
  setText($('list-note'), hidden > 0 ? `${number(hidden)} more; the search field narrows the list.` : '');
  $('list-note').hidden = hidden <= 0;
}

$('list').addEventListener('click', (event) => {
  const column = event.target.closest('th button')?.dataset.sort;
  if (column) go({sort: view.sort === column ? `-${column}` : column});
});
