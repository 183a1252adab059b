import Formats
import Imaging
import Storage

/// Code that takes untrusted bytes and must return a value or throw a `ModelError`.
public struct FuzzTarget: Sendable {
  public let name: String
  /// Runs the target. Any trap, and any thrown error other than a `ModelError`, is a finding.
  public let run: @Sendable (SharedBytes) throws -> Void

  /// Every reader, and the code behind outer layers that a fuzzer seldom gets through.
  public static let all: [FuzzTarget] =
    FormatRegistry.standard.formats.map { format in
      FuzzTarget(name: format.identifier.name) { try read($0, as: format) }
    } + [
      FuzzTarget(name: "pickle") { try read(ZipBytes.checkpoint(pickle: $0), as: PyTorchFormat()) },
      FuzzTarget(name: "npz-array") {
        try read(ZipBytes.archive([("array.npy", $0)]), as: NPZFormat())
      },
      FuzzTarget(name: "condi-header") {
        try read(PackedBytes.file(header: $0), as: PackedFormat())
      },
      // A description, a NUL and the weights.
      FuzzTarget(name: "ncnn-weights") { bytes in
        guard let end = bytes.array.firstIndex(of: 0) else { return }
        try load(
          NCNNFormat().read(
            InputFile(bytes.slice(0..<end), path: "input.param"),
            weights: InputFile(bytes.slice(end + 1..<bytes.count), path: "input.bin")))
      },
      FuzzTarget(name: "condi-verify") { bytes in
        let model = try PackedModel(parsing: InputFile(bytes, path: "input"))
        guard model.header.entries.reduce(0, { $0 + tally($1) }) <= byteLimit else { return }
        _ = try model.verifyRecords()
      },
      FuzzTarget(name: "audit") { bytes in
        _ = FileAudit(of: InputFile(bytes, path: "input")).verdict
      },
      FuzzTarget(name: "image") { try readImage($0) },
      FuzzTarget(name: "json") { bytes in
        _ = try JSONDocument.parse(bytes).serialized(pretty: true)
      },
      FuzzTarget(name: "statement") { bytes in
        let statement = try DerivationStatement(contentsOf: InputFile(bytes, path: "input"))
        let again = try DerivationStatement(parsing: statement.json)
        precondition(again == statement)
      },
      FuzzTarget(name: "edits") { bytes in
        var members = try JSONObjectReader(JSONDocument.parse(bytes))
        let edits = try ArchiveEdits(parsing: &members)
        var written = try JSONObjectReader(edits.json)
        let again = try ArchiveEdits(parsing: &written)
        precondition(again == edits)
      },
      FuzzTarget(name: "trajectory") { try Trajectory.follow($0) },
      FuzzTarget(name: "any") { bytes in
        let file = InputFile(bytes, path: "input")
        for format in FormatRegistry.standard.formats { _ = format.recognizes(file) }
        _ = try FormatRegistry.standard.format(of: file)
      },
    ]

  /// Makes the readers accept every checksum. Call it before the first input.
  public static func acceptEveryChecksum() { CRC32.acceptsEveryChecksum = true }

  /// The limit on tensor bytes loaded per input: being slow is not a bug.
  private static let byteLimit = 1 << 22

  /// The limit on an image's encoded length: one byte can hold thousands of pixels.
  private static let imageByteLimit = 1 << 14

  /// Checks that an image that can be read and written reads back sample for sample.
  private static func readImage(_ bytes: SharedBytes) throws {
    guard bytes.count <= imageByteLimit else { return }
    let image: RasterImage
    do { image = try RasterImage(parsing: bytes) } catch is ModelError { return }
    guard image.samples.count <= byteLimit else { return }
    let again = try RasterImage(parsing: image.encoded(as: .png))
    precondition(again.samples == image.samples && again.bitDepth == image.bitDepth)
    precondition(again.width == image.width && again.channelCount == image.channelCount)
  }

  private static func tally(_ entry: PackedEntry) -> Int {
    min(entry.elementType.byteCount(forElements: entry.shape.elementCount) ?? 0, byteLimit + 1)
  }

  private static func read(_ bytes: SharedBytes, as format: some ModelFormat) throws {
    let file = InputFile(bytes, path: "input")
    _ = format.recognizes(file)
    try load(try format.read(file))
  }

  private static func load(_ archive: TensorArchive) throws {
    var byteCount = 0
    for (name, tensor) in archive.tensors {
      guard tensor.byteCount <= byteLimit - byteCount else { continue }
      byteCount += tensor.byteCount
      do { _ = try tensor.bytes() } catch is ModelError { continue }
      _ = ModelError.malformed("described", tensor: name).description
    }
    _ = archive.conventionalRoot
    let assembled = archive.assembled(configuration: .object([:]))
    for group in assembled.groups where group.isAssembled {
      guard let tensor = assembled.tensors[group.name], tensor.byteCount <= byteLimit
      else { continue }
      do { _ = try tensor.bytes() } catch is ModelError { continue }
    }
  }
}
