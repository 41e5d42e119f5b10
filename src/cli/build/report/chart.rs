//! The charts of the report as SVG: a timeline, bars of parts, and a treemap. Text in them is escaped here.

use std::fmt::Write as _;
use std::time::Duration;

use indicatif::HumanBytes;

use crate::cli::progress::short;
use crate::serve::endpoint::escape::escape_html as escape;

/// Width of every chart, in units of its view box: the page scales it.
const WIDTH: f64 = 1000.0;
/// Height of a row of bars.
const ROW: f64 = 22.0;
/// Width of the names before the bars.
const NAMES: f64 = 330.0;
/// Room behind the bars for their figures.
const FIGURES: f64 = 90.0;
/// Average width of a letter at the size that the page sets, measured for the widest usual sans-serif fonts.
const LETTER: f64 = 7.2;
/// Number of colours in the page's style sheet.
pub(crate) const COLOURS: usize = 8;

/// A bar of the timeline.
pub(crate) struct Span {
    /// Id of the task, shown before the bar.
    pub name: String,
    /// Class of its colour.
    pub class: &'static str,
    /// When it began, since the start.
    pub began: Duration,
    /// How long it took.
    pub took: Duration,
    /// Text that a pointer shows.
    pub title: String,
}

/// Bars over a common axis of time.
pub(crate) fn timeline(spans: &[Span], whole: Duration) -> String {
    let axis = 20.0;
    let height = axis + ROW * spans.len() as f64;
    let whole = whole.as_secs_f64().max(1e-3);
    let x = |seconds: f64| NAMES + (WIDTH - NAMES - FIGURES) * (seconds / whole).min(1.0);
    let mut svg = open(height, "timeline");
    for tick in ticks(whole) {
        let (x, label) = (x(tick), short(Duration::from_secs_f64(tick)));
        let _ = write!(
            svg,
            "<line class=tick x1={x:.1} x2={x:.1} y1={axis} y2={height} /><text class=axis x={x:.1} y=13>{label}</text>"
        );
    }
    for (index, Span { name, class, began, took, title }) in spans.iter().enumerate() {
        let y = axis + ROW * index as f64;
        let (from, to) = (x(began.as_secs_f64()), x((*began + *took).as_secs_f64()));
        let _ = write!(
            svg,
            "<g><title>{}</title><text x=0 y={:.1}>{}</text><rect class={class} x={from:.1} y={:.1} width={:.1} height=14 rx=2 />\
<text x={:.1} y={:.1}>{}</text></g>",
            escape(title),
            y + 15.0,
            fitted(name, NAMES - 10.0),
            y + 4.0,
            (to - from).max(2.0),
            to + 6.0,
            y + 15.0,
            short(*took)
        );
    }
    svg + "</svg>"
}

/// A bar made of parts.
pub(crate) struct Bar {
    /// Id of the boot, shown above the bar.
    pub name: String,
    /// Names and lengths in bytes.
    pub parts: Vec<(String, u64)>,
    /// Text behind it.
    pub note: String,
}

/// Bars of parts on a common scale. `colour` gives the colour of a part by its name.
pub(crate) fn bars(bars: &[Bar], colour: impl Fn(&str) -> usize) -> String {
    let height = 2.0 * ROW * bars.len() as f64;
    let sum = |bar: &Bar| bar.parts.iter().map(|(_, size)| size).sum::<u64>();
    let most = bars.iter().map(sum).max().unwrap_or(0).max(1) as f64;
    let mut svg = open(height, "bars");
    for (index, bar) in bars.iter().enumerate() {
        let y = 2.0 * ROW * index as f64;
        let total = HumanBytes(sum(bar));
        let _ = write!(
            svg,
            "<text x=0 y={:.1}>{}</text><text class=axis-end x={WIDTH} y={:.1}>{total}; {}</text>",
            y + 14.0,
            fitted(&bar.name, WIDTH / 2.0),
            y + 14.0,
            escape(&bar.note)
        );
        let mut x = 0.0;
        for (name, size) in bar.parts.iter().filter(|(_, size)| *size > 0) {
            let width = WIDTH * *size as f64 / most;
            let _ = write!(
                svg,
                "<g><title>{}: {}</title><rect class=c{} x={x:.1} y={:.1} width={:.1} height=20 />",
                escape(name),
                HumanBytes(*size),
                colour(name),
                y + 19.0,
                (width - 1.0).max(0.5)
            );
            if width > 40.0 {
                let _ = write!(
                    svg,
                    "<text class=on x={:.1} y={:.1}>{}</text>",
                    x + 5.0,
                    y + 33.0,
                    fitted(name, width - 10.0)
                );
            }
            svg += "</g>";
            x += width;
        }
    }
    svg + "</svg>"
}

/// A tile of a treemap.
pub(crate) struct Tile {
    /// Path of the file; its last part is shown.
    pub name: String,
    /// Its length in bytes, which its area shows.
    pub size: u64,
    /// Its colour, an index.
    pub colour: usize,
}

/// A treemap: tiles whose areas are in proportion to their sizes, as square as can be (Bruls, Huizing and van Wijk,
/// "Squarified Treemaps", 2000).
pub(crate) fn treemap(tiles: &mut [Tile], height: f64) -> String {
    tiles.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.name.cmp(&b.name)));
    let sizes: Vec<f64> = tiles.iter().map(|tile| tile.size as f64).collect();
    let mut svg = open(height, "treemap");
    for (tile, Rect { x, y, width, height }) in tiles.iter().zip(squarified(&sizes, WIDTH, height)) {
        let size = HumanBytes(tile.size);
        let _ = write!(
            svg,
            "<g><title>{}: {size}</title><rect class=c{} x={x:.1} y={y:.1} width={:.1} height={:.1} />",
            escape(&tile.name),
            tile.colour % COLOURS,
            (width - 1.0).max(0.3),
            (height - 1.0).max(0.3)
        );
        // The end of a path says more than its beginning.
        let name = tile.name.rsplit('/').next().unwrap_or(&tile.name);
        if width > 60.0 && height > 18.0 {
            let _ = write!(
                svg,
                "<text class=on x={:.1} y={:.1}>{}</text>",
                x + 5.0,
                y + 15.0,
                fitted(name, width - 10.0)
            );
        }
        if width > 60.0 && height > 36.0 {
            let _ = write!(svg, "<text class=on x={:.1} y={:.1}>{size}</text>", x + 5.0, y + 31.0);
        }
        svg += "</g>";
    }
    svg + "</svg>"
}

fn open(height: f64, name: &str) -> String {
    format!(
        "<svg class={name} viewBox=\"0 0 {WIDTH} {height:.1}\" xmlns=\"http://www.w3.org/2000/svg\" role=img>"
    )
}

/// The text, escaped, and shortened in the middle where it is too long for that width.
fn fitted(text: &str, width: f64) -> String {
    let most = (width / LETTER) as usize;
    let letters: Vec<char> = text.chars().collect();
    if letters.len() <= most {
        return escape(text);
    }
    let (head, tail) = (most.saturating_sub(1) / 2, most.saturating_sub(1) - most.saturating_sub(1) / 2);
    let ends = [&letters[..head], &['…'], &letters[letters.len() - tail..]].concat();
    escape(&ends.into_iter().collect::<String>())
}

/// Up to six round points of an axis of that many seconds, the first at zero.
fn ticks(whole: f64) -> impl Iterator<Item = f64> {
    const STEPS: [f64; 14] =
        [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 3600.0];
    let step = STEPS.into_iter().find(|step| whole / step <= 6.0).unwrap_or(86_400.0);
    (0..).map(move |index| f64::from(index) * step).take_while(move |tick| *tick <= whole).take(7)
}

/// A rectangle of a treemap.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Rect {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

/// The rectangles for sizes in falling order, which fill this area.
fn squarified(sizes: &[f64], width: f64, height: f64) -> Vec<Rect> {
    let total: f64 = sizes.iter().sum();
    let mut rest = Rect { x: 0.0, y: 0.0, width, height };
    let mut placed = Vec::with_capacity(sizes.len());
    if total <= 0.0 {
        return placed;
    }
    let areas: Vec<f64> = sizes.iter().map(|size| size / total * width * height).collect();
    let mut start = 0;
    while start < areas.len() {
        let side = rest.width.min(rest.height).max(1e-9);
        // The row grows as long as its worst tile becomes no longer and thinner.
        let mut end = start + 1;
        while end < areas.len() && worst(&areas[start..=end], side) <= worst(&areas[start..end], side) {
            end += 1;
        }
        let row: f64 = areas[start..end].iter().sum();
        let thickness = row / side;
        let mut along = 0.0;
        for area in &areas[start..end] {
            let length = if thickness > 0.0 { area / thickness } else { 0.0 };
            placed.push(match rest.width >= rest.height {
                true => Rect { x: rest.x, y: rest.y + along, width: thickness, height: length },
                false => Rect { x: rest.x + along, y: rest.y, width: length, height: thickness },
            });
            along += length;
        }
        match rest.width >= rest.height {
            true => rest = Rect { x: rest.x + thickness, width: (rest.width - thickness).max(0.0), ..rest },
            false => {
                rest = Rect { y: rest.y + thickness, height: (rest.height - thickness).max(0.0), ..rest }
            }
        }
        start = end;
    }
    placed
}

/// The worst ratio of sides in a row of these areas along that side.
fn worst(row: &[f64], side: f64) -> f64 {
    let sum: f64 = row.iter().sum();
    let ratio = |area: &f64| {
        let (a, b) = (side * side * area, sum * sum);
        if a > 0.0 { (a / b).max(b / a) } else { f64::INFINITY }
    };
    row.iter().map(ratio).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_fill_the_area_in_proportion_to_their_sizes_and_do_not_overlap() {
        let sizes = [600.0, 300.0, 100.0, 60.0, 30.0, 9.0, 1.0, 0.0];
        let rects = squarified(&sizes, 1000.0, 400.0);
        let total: f64 = sizes.iter().sum();
        assert_eq!(rects.len(), sizes.len());
        for (index, (rect, size)) in rects.iter().zip(sizes).enumerate() {
            let area = rect.width * rect.height;
            assert!((area - size / total * 400_000.0).abs() < 1e-3, "{index}: {rect:?}");
            assert!(rect.x >= -1e-6 && rect.x + rect.width <= 1000.0 + 1e-6, "{rect:?}");
            assert!(rect.y >= -1e-6 && rect.y + rect.height <= 400.0 + 1e-6, "{rect:?}");
            for other in &rects[..index] {
                let overlap = |a: f64, la: f64, b: f64, lb: f64| (a + la).min(b + lb) - a.max(b);
                let both = overlap(rect.x, rect.width, other.x, other.width).min(overlap(
                    rect.y,
                    rect.height,
                    other.y,
                    other.height,
                ));
                assert!(both < 1e-6, "{rect:?} lies over {other:?}");
            }
        }
        assert!(squarified(&[], 10.0, 10.0).is_empty() && squarified(&[0.0], 10.0, 10.0).is_empty());
    }

    #[test]
    fn an_axis_has_a_few_round_points() {
        for (whole, expected) in [(0.02, 5), (3.2, 4), (55.0, 6), (4000.0, 2), (1e6, 7)] {
            assert_eq!(ticks(whole).count(), expected, "{whole}");
        }
    }

    #[test]
    fn long_names_lose_their_middle_and_no_markup_comes_through() {
        assert_eq!(fitted("<b>&", 100.0), "&lt;b&gt;&amp;");
        let short = fitted(&"x".repeat(500), 72.0);
        assert_eq!((short.chars().count(), short.contains('…')), (10, true));
        let mut tiles = [Tile { name: "<script>".into(), size: 5, colour: 0 }];
        assert!(!treemap(&mut tiles, 100.0).contains("<script"));
    }
}
