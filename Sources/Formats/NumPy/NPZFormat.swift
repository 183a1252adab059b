/// NumPy's archive: a zip file of `.npy` arrays.
///
/// Every entry holds what `numpy.savez` writes for the same array. What NumPy has no way to say
/// (bfloat16 and other element types, values, metadata, names unfit for a zip entry) stands in one
/// more entry, `__condi__`.
public struct NPZFormat: ModelFormat {
  private let isCompressed: Bool

  /// The format, with the kind of entries that writing makes; reading takes both.
  ///
  /// - Parameter isCompressed: write deflated entries, as `numpy.savez_compressed` does. Stored
  ///   ones, the default, are read by mapping.
  public init(isCompressed: Bool = false) {
    self.isCompressed = isCompressed
  }

  public var identifier: FormatIdentifier {
    FormatIdentifier(name: "npz", displayName: "NumPy archive", fileExtensions: ["npz"])
  }

  static let suffix = ".npy"
  private static let localHeaderSignature = Array("PK\u{3}\u{4}".utf8)
  private static let endRecordSignature = Array("PK\u{5}\u{6}".utf8)

  /// By the entries' names; where the directory is damaged, by the name of the first entry.
  public func recognizes(_ file: InputFile) -> Bool {
    guard let signature = try? file.bytes(at: 0, count: 4, purpose: "the signature").array,
      signature == Self.localHeaderSignature || signature == Self.endRecordSignature
    else { return false }
    guard let entries = try? file.zipDirectory().entries else {
      return Self.firstName(in: file)?.hasSuffix(Self.suffix) ?? false
    }
    let names = entries.map(\.name)
    if names.contains(where: { $0 == "data.pkl" || $0.hasSuffix("/data.pkl") }) { return false }
    return names.isEmpty || names.contains { $0.hasSuffix(Self.suffix) }
  }

  /// The name in the local header at the file's beginning.
  private static func firstName(in file: InputFile) -> String? {
    guard let head = try? file.bytes(at: 0, count: 30, purpose: "a zip header").array,
      head.starts(with: localHeaderSignature)
    else { return nil }
    let count = Int(head[26]) | Int(head[27]) << 8
    let name = try? file.bytes(at: 30, count: count, purpose: "a zip entry's name").array
    return name.flatMap { String(validating: $0, as: UTF8.self) }
  }

  public func read(_ file: InputFile) throws -> TensorArchive {
    try locatingErrors(path: file.path) {
      let zip = try ZipArchive(file)
      var reader = NPZReader(zip, archive: TensorArchive(format: identifier))
      return try reader.read()
    }
  }

  public func write(
    _ archive: TensorArchive, to writer: inout AtomicFileWriter, progress: WriteProgress?
  ) throws {
    let plan = try NPZPlan(archive)
    let compression: ZipWriter.Compression = isCompressed ? .deflated : .stored
    var zip = ZipWriter()
    for item in plan.items {
      zip.add(
        item.entry + Self.suffix, byteCount: item.header.count + item.contentByteCount,
        compression: compression
      ) {
        let content = try locatingErrors(tensor: item.name, item.content)
        let bytes = SharedBytes(count: item.header.count + content.count) { output in
          output.copyBytes(from: item.header)
          content.withUnsafeBytes { input in
            UnsafeMutableRawBufferPointer(rebasing: output[item.header.count...])
              .copyMemory(from: input)
          }
        }
        if item.isTensor { progress?(item.name, content.count) }
        return bytes
      }
    }
    try zip.write(to: &writer)
  }
}
