//! Tests of keys, signatures and certificates, with minisign, gpg and OpenSSL as judges.

mod key;
mod key_tls;
mod key_vendor;
mod text_forms;
