//! Rules about programs, by their ELF headers (elf(5)).

use super::super::extension::{Error, Extension};
use super::super::merge::Merge;
use super::{Breach, some};
use crate::base::arch::Arch;

/// Number of bytes of a program that are read: enough for the headers, and for the interpreter's name where linkers put
/// it.
const HEAD: u64 = 16 << 10;
/// `PT_INTERP` of program headers: the dynamic linker's path.
const INTERP: u32 = 3;

/// The relevant fields of a 64-bit little-endian ELF file, the only kind that Flatcar's machines run.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Elf {
    machine: u16,
    interpreter: Option<String>,
}

/// `e_machine` of Flatcar's machines.
const fn machine_of(arch: Arch) -> u16 {
    match arch {
        Arch::Amd64 => 62,
        Arch::Arm64 => 183,
    }
}

fn machine_name(machine: u16) -> String {
    match Arch::ALL.into_iter().find(|arch| machine_of(*arch) == machine) {
        Some(arch) => arch.systemd().to_owned(),
        None => format!("ELF machine {machine}"),
    }
}

impl Elf {
    /// Reads the headers; `None` for any file but a program or shared object.
    fn of(head: &[u8]) -> Option<Elf> {
        let u16_at = |at: usize| Some(u16::from_le_bytes(head.get(at..at.checked_add(2)?)?.try_into().ok()?));
        let u32_at = |at: usize| Some(u32::from_le_bytes(head.get(at..at.checked_add(4)?)?.try_into().ok()?));
        let u64_at = |at: usize| Some(u64::from_le_bytes(head.get(at..at.checked_add(8)?)?.try_into().ok()?));
        // Magic, 64 bits, little-endian; executable or shared.
        if !head.starts_with(&[0x7f, b'E', b'L', b'F', 2, 1]) || ![2, 3].contains(&u16_at(16)?) {
            return None;
        }
        let (table, size, count) = (u64_at(32)?, u16_at(54)?, u16_at(56)?);
        let interpreter_at = |index: u16| -> Option<(u64, u64)> {
            let at = usize::try_from(table).ok()?.checked_add(usize::from(size) * usize::from(index))?;
            let is_interpreter = u32_at(at)? == INTERP;
            is_interpreter.then_some((u64_at(at.checked_add(8)?)?, u64_at(at.checked_add(32)?)?))
        };
        let text = |(offset, length): (u64, u64)| -> Option<String> {
            let from = usize::try_from(offset).ok()?;
            let bytes = head.get(from..from.checked_add(usize::try_from(length).ok()?)?)?;
            Some(String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned())
        };
        let interpreter = (0..count).find_map(interpreter_at).map(|place| text(place).unwrap_or_default());
        Some(Elf { machine: u16_at(18)?, interpreter })
    }
}

fn programs(extension: &Extension) -> Result<Vec<(&str, Elf)>, Error> {
    let mut programs = Vec::new();
    for (path, _) in extension.entries.iter().filter(|(_, seen)| seen.is_program()) {
        programs.extend(Elf::of(&extension.head(path, HEAD)?).map(|elf| (path.as_str(), elf)));
    }
    Ok(programs)
}

fn arch_of(extension: &Extension) -> Result<Option<Arch>, Error> {
    let release = extension.release()?;
    let arch = release.as_ref().and_then(|release| release.get("ARCHITECTURE"));
    Ok(arch.and_then(|arch| Arch::ALL.into_iter().find(|known| known.systemd() == arch)))
}

pub(super) fn no_architecture(_: &Merge, extension: &Extension) -> Result<Vec<Breach>, Error> {
    let Some(release) = extension.release()? else { return Ok(Vec::new()) };
    if !matches!(release.get("ARCHITECTURE"), None | Some("_any")) {
        return Ok(Vec::new());
    }
    let programs = programs(extension)?;
    let detail = |(path, elf): &(&str, Elf)| format!("/{path} is for {}", machine_name(elf.machine));
    Ok(programs.first().map(|first| Breach::of(extension).saying(detail(first))).into_iter().collect())
}

pub(super) fn machine(_: &Merge, extension: &Extension) -> Result<Vec<Breach>, Error> {
    let Some(arch) = arch_of(extension)? else { return Ok(Vec::new()) };
    let programs = programs(extension)?.into_iter();
    let wrong = programs.filter(|(_, elf)| {
        // Programs for other machines are carried as data: firmware, BPF objects.
        elf.machine != machine_of(arch) && Arch::ALL.iter().any(|known| machine_of(*known) == elf.machine)
    });
    let breach = |(path, elf): (&str, Elf)| {
        let detail =
            format!("it is for {}, but ARCHITECTURE is {}", machine_name(elf.machine), arch.systemd());
        Breach::of(extension).at(path).saying(detail)
    };
    Ok(wrong.map(breach).collect())
}

pub(super) fn dynamic(_: &Merge, extension: &Extension) -> Result<Vec<Breach>, Error> {
    if extension.release()?.is_none_or(|release| release.get("ID") != Some("_any")) {
        return Ok(Vec::new());
    }
    // A program whose linker is in the extension does not depend on the host's.
    let own = |path: &str| extension.entries.contains_key(path.trim_start_matches('/'));
    let programs = programs(extension)?.into_iter();
    let dynamic = programs.filter_map(|(path, elf)| Some((path, elf.interpreter?)));
    let needing: Vec<String> = dynamic
        .filter(|(_, interpreter)| !own(interpreter))
        .map(|(path, by)| format!("/{path} (by {by})"))
        .collect();
    let breach = || Breach::of(extension).saying(format!("{} is linked dynamically", some(&needing)));
    Ok((!needing.is_empty()).then(breach).into_iter().collect())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Headers of a program, with an interpreter if one is given.
    pub(crate) fn elf(machine: u16, interpreter: Option<&str>) -> Vec<u8> {
        let mut bytes = vec![0; 64 + 56];
        bytes[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1]);
        bytes[16] = 2;
        bytes[18..20].copy_from_slice(&machine.to_le_bytes());
        bytes[32] = 64;
        bytes[54] = 56;
        bytes[56] = 1;
        if let Some(interpreter) = interpreter {
            bytes[64] = 3;
            bytes[64 + 8] = 120;
            bytes[64 + 32] = interpreter.len() as u8 + 1;
            bytes.extend(interpreter.as_bytes());
            bytes.push(0);
        }
        bytes
    }

    #[test]
    fn machine_and_interpreter_are_read() {
        assert_eq!(Elf::of(&elf(183, None)), Some(Elf { machine: 183, interpreter: None }));
        let linked = Elf::of(&elf(62, Some("/lib64/ld.so"))).unwrap();
        assert_eq!(linked.interpreter.as_deref(), Some("/lib64/ld.so"));
        assert_eq!(Elf::of(b"#!/bin/sh\n"), None);
    }

    #[test]
    fn cut_off_headers_are_no_program_or_have_no_interpreter() {
        let whole = elf(62, Some("/lib64/ld.so"));
        for end in 0..whole.len() {
            let _ = Elf::of(&whole[..end]);
        }
        assert_eq!(Elf::of(&whole[..30]), None);
        let mut far = whole.clone();
        far[39] = 0xff;
        assert_eq!(Elf::of(&far).unwrap().interpreter, None);
    }
}
