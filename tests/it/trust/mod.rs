//! Tests of keys and signatures, with minisign and gpg as judges: keys of one's own, the vendor's, and the forms that both come in.

mod key;
mod key_vendor;
mod text_forms;
