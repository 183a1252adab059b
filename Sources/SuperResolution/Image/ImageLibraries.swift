import CImageCodecs

/// The C libraries that read and write pictures.
package enum ImageLibraries {
  /// Names and versions of the libraries in use.
  package static var versions: [(name: String, version: String)] {
    [
      ("libpng", String(cString: condi_png_version())),
      ("libjpeg-turbo", jpegVersion ?? "unknown"),
    ]
  }

  private static var jpegVersion: String? {
    var text = [CChar](repeating: 0, count: Int(CONDI_IMAGE_MESSAGE_SIZE))
    guard condi_jpeg_version(&text) == 1 else { return nil }
    return String(decoding: text.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
  }
}
