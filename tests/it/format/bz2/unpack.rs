//! Packed files of every kind: the programs as judges.

use super::open::unpack;

fn by(program: &[&str], input: &[u8]) -> Vec<u8> {
    super::by(program, input).unwrap()
}

const PROGRAMS: [&[&str]; 4] = [&["gzip", "-nc"], &["bzip2", "-c"], &["xz", "-c"], &["zstd", "-qc"]];

fn contents() -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..300_000_u32).map(|k| (k.wrapping_mul(k) >> 9) as u8).collect();
    bytes.resize(3 << 20, 0);
    bytes.extend(b"the end");
    bytes
}

#[test]
fn files_of_the_programs_unpack_in_one_part_or_several() {
    let bytes = contents();
    assert!(unpack(&bytes, 2).unwrap().bytes == bytes);
    for program in PROGRAMS {
        let file = by(program, &bytes);
        let kept = unpack(&file, 2).unwrap();
        assert!(kept.bytes == bytes && kept.zeros > 2 << 20, "{program:?}: {}", kept.zeros);
        let mut several = [&file[..], &by(program, b""), &by(program, b"more")].concat();
        let expected = [&bytes[..], b"more"].concat();
        assert!(unpack(&several, 2).unwrap().bytes == expected, "{program:?}");
        several.resize(several.len() + 300_000, 0);
        assert!(unpack(&several, 2).unwrap().bytes == expected, "{program:?}");
        several.extend(b"else");
        let error = unpack(&several, 2).map(|_| ()).unwrap_err().to_string();
        let place = format!("at byte {}", several.len() - 4);
        assert!(error.contains("something else behind its last") && error.ends_with(&place), "{error}");
    }
}

#[test]
fn truncated_and_damaged_files_are_refused() {
    let bytes = [&contents()[..2000], &[0; 9000]].concat();
    for program in PROGRAMS {
        let file = by(program, &bytes);
        for length in 18..file.len() {
            let error = unpack(&file[..length], 2).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains("truncated"), "{program:?} {length}: {error}");
        }
        let mut wrong = file.clone();
        let middle = wrong.len() / 2;
        wrong[middle] ^= 0x10;
        let error = unpack(&wrong, 2).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("damaged"), "{program:?}: {error}");
    }
}

#[test]
fn windows_beyond_the_limits_are_refused() {
    // A frame of zstd may ask for a window of 2 GiB, and xz for a dictionary of 1.5.
    let wide = by(&["zstd", "-qc", "--ultra", "--long=29", "-1"], &vec![7; 1 << 20]);
    let error = unpack(&wide, 1).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("zstd"), "{error}");
    let wide = by(&["xz", "-c", "--lzma2=preset=0,dict=256MiB"], b"x");
    let error = unpack(&wide, 1).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("xz"), "{error}");
    let most = by(&["xz", "-9ec"], b"x");
    assert_eq!(unpack(&most, 1).map(|kept| kept.bytes).unwrap(), b"x");
}
