/// A tensor's name as ggml can read it.
///
/// ggml refuses a whole file for one name of 64 bytes and more (`GGML_MAX_NAME`, which counts a zero
/// at the end). The middle of a longer name is replaced by 8 hexadecimal digits of its SHA-256 between
/// tildes, which keeps the ends readable and names apart.
struct GGUFName: Hashable, Sendable {
  /// The longest name in UTF-8.
  static let byteCountLimit = 63

  /// The name outside the file.
  let full: String
  /// The name in the file, of at most `byteCountLimit` bytes.
  let stored: String

  init(_ full: String) {
    self.full = full
    guard full.utf8.count > Self.byteCountLimit else {
      stored = full
      return
    }
    let middle = "~\(SharedBytes(full.utf8).sha256.prefix(8))~"
    let byteCount = Self.byteCountLimit - middle.utf8.count
    let tail = Self.cut(full.unicodeScalars.reversed(), to: byteCount / 2).reversed()
    let head = Self.cut(Array(full.unicodeScalars), to: byteCount - byteCount / 2)
    stored = Self.text(head) + middle + Self.text(Array(tail))
  }

  var isShortened: Bool { stored != full }

  private static func cut(_ scalars: [Unicode.Scalar], to byteCount: Int) -> [Unicode.Scalar] {
    var rest = byteCount
    return Array(
      scalars.prefix { scalar in
        rest -= UTF8.width(scalar)
        return rest >= 0
      })
  }

  private static func text(_ scalars: [Unicode.Scalar]) -> String {
    String(String.UnicodeScalarView(scalars))
  }
}
