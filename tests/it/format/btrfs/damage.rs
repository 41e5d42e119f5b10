//! Damaged filesystems: an error or a listing, never more.

use crate::house::damage::Random;
use crate::judges::properties::disks::{BLOCK, RECORD, btrfs};
use crate::judges::properties::seeds;

#[test]
fn thousands_of_damaged_filesystems_do_no_harm() {
    let sound = seeds::disks::btrfs().remove(0);
    let mut random = Random(7);
    for round in 0..1500 {
        let mut bytes = sound.clone();
        // Sums are right in most rounds, so that the damage is met behind them. Writing again takes a hundred times as long
        // as reading, so that few rounds do it.
        bytes[0] = if round % 32 == 4 { 3 } else { u8::from(round % 8 != 3) };
        for _ in 0..=random.below(4) {
            // Most of a block's meaning is in its first and last bytes.
            let record = 1 + random.below(sound.len() / RECORD) * RECORD + 4;
            let offset = match random.below(4) {
                0 => random.below(BLOCK),
                1 => BLOCK - 1 - random.below(600),
                _ => random.below(800),
            };
            let byte = &mut bytes[record + offset];
            *byte = match random.below(5) {
                0 => 0,
                1 => 0xff,
                2 => *byte ^ 1 << random.below(8),
                3 => byte.wrapping_add(1),
                _ => random.below(256) as u8,
            };
        }
        if random.below(50) == 0 {
            let from = random.below(sound.len() / RECORD) * RECORD;
            let to = random.below(sound.len() / RECORD) * RECORD;
            let block = sound[1 + from + 4..1 + from + RECORD].to_vec();
            bytes[1 + to + 4..1 + to + RECORD].copy_from_slice(&block);
        }
        btrfs(&bytes);
    }
}
