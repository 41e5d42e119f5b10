//! Tables of longer disks, and longer partitions in them.

use super::{Error, Table, mbr};

impl Table {
    /// Sets the length of the disk, in bytes, so that the copy moves to its new end.
    ///
    /// # Errors
    /// A length that is no multiple of the sector, or in which the partitions have no room.
    pub fn set_length(&mut self, length: u64) -> Result<(), Error> {
        if !length.is_multiple_of(self.sector) {
            return Err(Error::Damaged("the disk would not end at the end of a sector"));
        }
        let (end, name) = self.last().map_or((0, String::new()), |last| (last.end(), last.name.clone()));
        let room = (self.entry_sectors() + 1) * self.sector;
        let needed = end.max(self.first_usable.saturating_mul(self.sector)).saturating_add(room);
        if length < needed {
            return Err(Error::Short { asked: length, name, needed });
        }
        mbr::span(&mut self.mbr, self.length / self.sector, length / self.sector);
        self.length = length;
        Ok(())
    }

    /// Gives the partition of this number a new length, in bytes, which is not less than its present one.
    ///
    /// # Errors
    /// There is no such partition; it would shrink; another one or the copy of the table lies in the way.
    pub fn grow(&mut self, number: u32, length: u64) -> Result<(), Error> {
        let (sector, room) = (self.sector, self.tail_start());
        let Some(partition) = self.partitions.iter().find(|partition| partition.number == number) else {
            return Err(Error::Damaged("it lacks the partition that shall grow"));
        };
        let fixed = |why: String| Error::Fixed { name: partition.name.clone(), asked: length, why };
        let next = self.partitions.iter().filter(|other| other.start > partition.start);
        let next = next.min_by_key(|other| other.start);
        let end = partition.start.checked_add(length);
        match end {
            _ if length < partition.length => {
                return Err(fixed(format!("it has {} bytes already", partition.length)));
            }
            _ if !length.is_multiple_of(sector) => {
                return Err(fixed(format!("that is no multiple of the sector's {sector} bytes")));
            }
            Some(end) if next.is_none_or(|next| end <= next.start) && end <= room => {}
            _ => {
                let (what, at) = next.map_or(("the end of the disk".into(), room), |next| {
                    (format!("the partition `{}`", next.name), next.start)
                });
                let most = at.saturating_sub(partition.start);
                return Err(fixed(format!("{what} leaves it {most}")));
            }
        }
        self.partitions.iter_mut().filter(|other| other.number == number).for_each(|one| one.length = length);
        Ok(())
    }
}
