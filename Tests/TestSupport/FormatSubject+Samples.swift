import Formats
import Storage

extension FormatSubject {
  /// Shapes that break readers: no axes, no elements, one element, odd and prime lengths.
  public static let shapes: [Shape] = [
    [], [0], [1], [17], [3, 5, 7], [2, 0, 4], [0, 0], [4, 6], [1, 1, 1, 1, 1, 1, 1, 1], [251, 3],
  ]

  /// Returns a tensor of random bits; truth values are 0 and 1.
  ///
  /// - Returns: `nil` if the elements do not fill whole bytes.
  public static func sampleTensor(_ type: ElementType, _ shape: Shape, seed: UInt64) throws
    -> Tensor?
  {
    guard let byteCount = type.byteCount(forElements: shape.elementCount) else { return nil }
    var random = SplitMix(seed: seed)
    let bytes = (0..<byteCount).map { _ in
      type == .bool ? UInt8.random(in: 0...1, using: &random) : .random(in: 0...255, using: &random)
    }
    return try Tensor(elementType: type, shape: shape, bytes: SharedBytes(bytes))
  }

  /// Names that files, terminals, zip archives and JSON have trouble with.
  public static let names = [
    "plain", "", " ", "a b", "a.b.c", "a/b", "a//b", "/absolute", "../escape", "..", ".", "a/../b",
    "back\\slash", "C:\\windows", "quote\"s'", "tab\tand\nnewline\r", "\u{1B}[31m", "\u{7F}",
    "ключ", "名前", "🧮", "e\u{301}", "\u{202E}drawkcab", "\u{FEFF}", "{}", "[0]", "null", "x.npy",
    "data.pkl", "tensor_0", "tensor_3", "value_1", "__condi__", "entry", "version",
    String(repeating: "long.", count: 2000),
  ]

  /// Values of every kind, including those that formats easily lose.
  public static let values: [(name: String, value: ArchiveValue)] = [
    ("none", .none), ("true", .boolean(true)), ("false", .boolean(false)), ("zero", .integer(0)),
    ("epoch", .integer(12)), ("minimum", .integer(.min)), ("maximum", .integer(.max)),
    ("large", .largeInteger("123456789012345678901234567890")),
    ("negative large", .largeInteger("-123456789012345678901234567890")),
    ("real", .real(0.1)), ("whole real", .real(3)), ("negative zero", .real(-0.0)),
    ("infinity", .real(.infinity)), ("negative infinity", .real(-.infinity)), ("nan", .real(.nan)),
    ("tiny", .real(.leastNonzeroMagnitude)),
    ("complex", .complex(real: 1.5, imaginary: -.infinity)),
    ("text", .text("Grüße, 世界 😀")), ("empty text", .text("")), ("nul text", .text("a\0b\0")),
    ("control text", .text("a\n\u{1}")), ("bytes", .bytes([1, 0, 255])),
    ("empty bytes", .bytes([])), ("zero bytes", .bytes([0, 0])),
  ]

  /// Returns an archive of a few tensors, with values and metadata as far as the format keeps them.
  ///
  /// - Parameter typeLimit: The number of the format's element types that occur, one tensor per
  ///   type.
  public func sampleArchive(seed: UInt64 = 1, typeLimit: Int = .max) throws -> TensorArchive {
    var archive = TensorArchive()
    guard !isSingleTensor else {
      archive.tensors[""] = try Self.sampleTensor(.float32, [3, 5], seed: seed)
      return archive
    }
    for (index, type) in elementTypes.prefix(typeLimit).enumerated() {
      archive.tensors["layers.\(index % 3).\(type)"] =
        try Self.sampleTensor(type, [2, 4], seed: seed &+ UInt64(index))
    }
    archive.tensors["empty"] = try Self.sampleTensor(.float32, [0, 3], seed: seed)
    if keepsValues {
      archive.values["epoch"] = .integer(12)
      archive.values["note"] = .text("a note")
      archive.values["scheduler"] = ArchiveValue.none
    }
    if keepsMetadata { archive.metadata = ["z": "last first", "a": "Grüße"] }
    return archive
  }

  /// Writes `archive` into `folder`.
  ///
  /// - Returns: The path of the file.
  public func write(_ archive: TensorArchive, in folder: TemporaryFolder, as name: String = "file")
    throws -> String
  {
    let path = folder.appending("\(name).\(format.identifier.fileExtensions.first ?? "bin")")
    try FormatRegistry([format]).write(archive, as: format, to: path, replacesExisting: true)
    return path
  }

  /// Reads `path` with the subject's format and loads every tensor's bytes.
  public func readWhole(_ path: String, access: InputFile.Access = .mapped) throws
    -> TensorArchive
  {
    let archive = try format.read(try InputFile(path: path, access: access))
    for tensor in archive.tensors.values { _ = try tensor.bytes() }
    return archive
  }
}
