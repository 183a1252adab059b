/// PyTorch checkpoints: the zip archives that `torch.save` has written since version 1.6.
///
/// Their pickle is read as data by an allow-list of globals; nothing in a file is ever executed.
public struct PyTorchFormat: ModelFormat {
  public init() {}

  public var identifier: FormatIdentifier {
    FormatIdentifier(
      name: "pytorch", displayName: "PyTorch", fileExtensions: ["pth", "pt", "ckpt", "bin"])
  }

  private static let zipSignature: [UInt8] = [0x50, 0x4B, 0x03, 0x04]
  /// The long integer 0x1950A86A20F9469CFC6C as protocol 2 pickles it.
  private static let legacySignature: [UInt8] = [
    0x80, 0x02, 0x8A, 0x0A, 0x6C, 0xFC, 0x9C, 0x46, 0xF9, 0x20,
  ]

  public func recognizes(_ file: InputFile) -> Bool {
    if Self.isLegacy(file) { return true }
    guard Self.startsAsZip(file) else { return false }
    if let directory = try? ZipDirectory(parsing: file) {
      return directory.entries.contains { PyTorchRecords.isPickle($0.name) }
    }
    // A damaged archive: torch's first entry is the pickle.
    return Self.firstName(in: file).map(PyTorchRecords.isPickle) ?? false
  }

  public func read(_ file: InputFile) throws -> TensorArchive {
    guard !Self.isLegacy(file) else {
      throw FormatError.unsupported(
        "PyTorch checkpoints of the old, unzipped kind are not supported", path: file.path)
    }
    guard Self.startsAsZip(file) else {
      throw FormatError.malformed("not a zip archive", path: file.path, offset: 0)
    }
    let records = try PyTorchRecords(ZipArchive(file))
    let metadata = try records.metadata()
    return try locatingErrors(path: file.path) {
      var reader = PyTorchObjectReader(graph: try records.graph(), records: records)
      var archive = try reader.read()
      archive.format = identifier
      archive.metadata = metadata
      return archive
    }
  }

  public func write(
    _ archive: TensorArchive, to writer: inout AtomicFileWriter, progress: WriteProgress?
  ) throws {
    try PyTorchArchiveWriter(archive).write(to: &writer, progress: progress)
  }

  private static func isLegacy(_ file: InputFile) -> Bool { starts(file, with: legacySignature) }

  private static func startsAsZip(_ file: InputFile) -> Bool { starts(file, with: zipSignature) }

  private static func starts(_ file: InputFile, with signature: [UInt8]) -> Bool {
    guard file.byteCount >= signature.count else { return false }
    let head = try? file.bytes(at: 0, count: signature.count, purpose: "the signature")
    return head?.array == signature
  }

  /// The name in the first local header.
  private static func firstName(in file: InputFile) -> String? {
    guard let head = try? file.bytes(at: 26, count: 2, purpose: "the name's length").array,
      let name = try? file.bytes(
        at: 30, count: Int(head[0]) | Int(head[1]) << 8, purpose: "the first entry's name")
    else { return nil }
    return String(validating: name.array, as: UTF8.self)
  }
}
