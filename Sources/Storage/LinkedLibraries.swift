import CCrypto
import CDeflate
import CJSONC
import CLibzip
import CZlib

/// The C libraries that this module uses.
package enum LinkedLibraries {
  /// The names and versions of the libraries.
  ///
  /// Each version is that of the library loaded at run time, except libdeflate's: libdeflate does
  /// not report its version at run time, so the version at build time is given.
  package static var versions: [(name: String, version: String)] {
    [
      ("libzip", String(cString: zip_libzip_version())),
      ("json-c", String(cString: json_c_version())),
      ("zlib", String(cString: zlibVersion())),
      ("libdeflate", "\(LIBDEFLATE_VERSION_STRING) (when built)"),
      ("OpenSSL", String(cString: OpenSSL_version(OPENSSL_FULL_VERSION_STRING))),
    ]
  }
}
