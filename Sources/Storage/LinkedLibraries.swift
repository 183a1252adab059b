import CCrypto
import CDeflate
import CJSONC
import CLibzip
import CZlib

/// The C libraries that this module stands on.
package enum LinkedLibraries {
  /// Names and versions, as the libraries in use tell them; libdeflate tells none while a program
  /// runs, so that its version is the one the program was built with.
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
