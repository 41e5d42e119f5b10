//! Texts that fit a number of columns: long words lose their middle, because paths and digests differ at both ends.

/// Characters of a digest that stay when it has to be shortened, and of any word at least.
const SHORTEST: usize = 9;

/// The text in at most this many characters, with `…` in the place of its middle.
pub(super) fn elided(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return text.to_owned();
    }
    let kept = width.saturating_sub(1);
    // The end of a path says more than its beginning.
    let (head, tail) = (kept / 3, kept - kept / 3);
    text.chars().take(head).chain(['…']).chain(text.chars().skip(length - tail)).take(width).collect()
}

/// The line in at most this many columns, as far as that can be had by shortening words: digests first, then the longest.
pub(super) fn fitted(line: &str, columns: usize) -> String {
    let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    loop {
        let over = (words.join(" ").chars().count()).saturating_sub(columns);
        if over == 0 {
            break;
        }
        let length = |word: &String| word.chars().count();
        let digest = words.iter().position(|word| is_digest(word));
        let longest = (0..words.len()).max_by_key(|&index| length(&words[index]));
        let Some(index) = digest.or(longest).filter(|&index| length(&words[index]) > SHORTEST) else { break };
        let width = match digest {
            Some(_) => SHORTEST,
            None => length(&words[index]).saturating_sub(over).max(SHORTEST),
        };
        words[index] = elided(&words[index], width);
    }
    words.join(" ")
}

/// Whether a word is a fingerprint or SHA-256 in hexadecimal digits.
fn is_digest(word: &str) -> bool {
    let digits = word.trim_end_matches(|letter: char| !letter.is_ascii_alphanumeric());
    digits.len() >= 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FETCHED: &str = "fetched  flatcar/amd64/flatcar_production_pxe_image.cpio.gz: 39.73 MiB, 435.59 KiB/s, signed by 8F2E8753048542474D9D9200D26D2108E2F05BC2";

    /// Lines of `build` had 117 columns and more (ux.md, §2).
    #[test]
    fn a_line_with_a_path_and_a_fingerprint_fits_sixty_columns_and_stays_whole_where_it_fits() {
        assert_eq!(fitted(FETCHED, 200), FETCHED);
        assert_eq!(
            fitted(FETCHED, 110),
            "fetched  flatcar/amd64/flatcar_production_pxe_image.cpio.gz: 39.73 MiB, 435.59 KiB/s, signed by 8F…F05BC2"
        );
        for columns in 60..110 {
            let whole = if columns < 80 { FETCHED.replace(", 435.59 KiB/s", "") } else { FETCHED.to_owned() };
            let line = fitted(&whole, columns);
            assert!(line.chars().count() <= columns, "{columns}: {line}");
            assert!(line.contains("39.73 MiB, ") && line.contains("signed by 8F…F05BC2"), "{line}");
            assert!(line.contains(".gz:"), "{line}");
        }
    }

    #[test]
    fn words_that_cannot_be_shortened_stay() {
        let line = "one two three four five six";
        assert_eq!(fitted(line, 10), line);
        assert_eq!(elided("0123456789", 5), "0…789");
        assert_eq!(elided("ü", 1), "ü");
    }
}
