// Name, counts and traffic.

// Seconds that the plot shows, and those whose maximum is its height: one early peak does not flatten the rest.
const SECONDS = 300;
const LATELY = 60;
// Seconds that a point of it is the mean of.
const MEAN = 5;
let traffic = [];

function showCounts() {
  const counted = Object.fromEntries(RANK.map((look) => [look, 0]));
  for (const {look} of items.values()) counted[look] += 1;
  for (const look of RANK) {
    if (!$(`count-${look}`)) {
      $('counts').append(make('button', {type: 'button', id: `count-${look}`, 'data-state': look, 'aria-pressed': 'false'},
        make('b'), make('span', {}, make('i', {'aria-hidden': 'true'}, LOOKS[look][0]), ` ${LOOKS[look][1]}`)));
    }
    const button = $(`count-${look}`);
    setText(button.firstChild, number(counted[look]));
    setClass(button, counted[look] ? look : `${look} zero`);
    setAttribute(button, 'aria-pressed', String(view.state === look));
  }
  $('counts').style.setProperty('--digits', Math.max(2, ...RANK.map((look) => number(counted[look]).length)));
  const bad = NEEDS_A_LOOK.reduce((sum, look) => sum + counted[look], 0) + troubledParts().length;
  const name = status?.serving.name || 'prebake';
  const title = `${bad ? `(${bad}) ` : ''}${name}${gone ? ', no answer' : ''}`;
  if (document.title !== title) document.title = title;
}

function showServing() {
  const {name, build, releases, profiles, groups} = status.serving;
  setText($('name'), name || 'prebake');
  const said = [releases.map((release) => `Flatcar ${release}`).join(', '), count(profiles.length, 'profile'), count(groups, 'group'), build && `build ${build.slice(0, 12)}`];
  setText($('serving'), said.filter(Boolean).join(' · '));
}

// A number that an axis can have: 1, 2 or 5 of a power of ten, of binary units.
function roundUp(value) {
  let unit = 1;
  while (value / unit >= 1024) unit *= 1024;
  const ten = 10 ** Math.floor(Math.log10(Math.max(1, value / unit)));
  return unit * ten * [1, 2, 5, 10].find((step) => step * ten >= value / unit);
}

function takeTraffic({per_second, until}) {
  per_second.forEach((value, index) => traffic.push([until - per_second.length + 1 + index, value]));
  traffic = [...new Map(traffic)].sort((a, b) => a[0] - b[0]).filter(([second]) => second > until - SECONDS);
}

function showTraffic() {
  const {until, sent, transfers} = status.traffic;
  // Transfers are counted in pieces, so that a single second says little.
  const mean = (index) => {
    const some = traffic.slice(Math.max(0, index - MEAN + 1), index + 1);
    return some.reduce((sum, [, value]) => sum + value, 0) / Math.max(1, some.length);
  };
  const points = traffic.map(([second], index) => [second, mean(index)]);
  const values = points.map(([, value]) => value);
  const rate = values.at(-1) || 0;
  const peak = Math.max(0, ...values);
  const lately = Math.max(0, ...values.slice(-LATELY));
  const top = roundUp(Math.max(1, lately || peak, peak / 100));
  setText($('rate'), `${bytes(rate)}/s`);
  setText($('scale'), sent ? `${bytes(sent)} in all${transfers ? `, ${number(transfers)} running` : ''}` : 'nothing sent yet');
  $('plot-box').hidden = traffic.length < 2 || !sent;
  if ($('plot-box').hidden) return;
  const x = (second) => SECONDS - (until - second);
  const y = (value) => 60 - 60 * Math.min(1, value / top);
  const line = points.map(([second, value]) => `${x(second)},${y(value).toFixed(1)}`);
  const shape = (tag, props) => {
    const node = document.createElementNS('http://www.w3.org/2000/svg', tag);
    for (const [key, value] of Object.entries(props)) node.setAttribute(key, value);
    return node;
  };
  // What is higher than the plot ends in a bar of another colour at its top.
  const over = points.filter(([, value]) => value > top).map(([second]) => `M${x(second) - 1},1.5h2`).join('');
  morphInto($('plot'), [
    shape('path', {class: 'grid', d: 'M0,.5H300M0,30H300M60,0V60M120,0V60M180,0V60M240,0V60'}),
    shape('path', {class: 'area', d: `M${x(traffic[0][0])},60L${line.join('L')}L${SECONDS},60Z`}),
    shape('path', {class: 'edge', d: `M${line.join('L')}`}),
    shape('path', {class: 'over', d: over || 'M0,0'}),
  ]);
  setText($('plot-top'), `${bytes(top)}/s`);
  setText($('plot-middle'), bytes(top / 2));
  const clipped = peak > top;
  const when = clipped ? points.find(([, value]) => value === peak)[0] : 0;
  setClass($('plot-peak'), x(when) > SECONDS / 2 ? 'left' : '');
  setText($('plot-peak'), clipped ? `peak ${bytes(peak)}/s at ${clock(when)}` : '');
}
