import Glibc
import Storage

/// The formats that a program knows, in the order in which they are tried on a file.
///
/// ```swift
/// let registry = FormatRegistry([SafetensorsFormat(), NPZFormat()])
/// let archive = try registry.open("upload.bin")  // throws for a pickle, whatever its name
/// print(archive.format?.name ?? "", archive.tensors.count)
/// ```
public struct FormatRegistry: Sendable {
  /// The formats, in the order in which they are asked whether they recognize a file.
  public let formats: [any ModelFormat]

  /// Creates a registry of custom formats, or of some of the standard ones.
  public init(_ formats: [any ModelFormat]) {
    self.formats = formats
  }

  /// The registry of every format of this library; this is the only list of them.
  public static let standard = FormatRegistry([
    PackedFormat(),
    SafetensorsFormat(),
    PyTorchFormat(),
    DistributedCheckpointFormat(),
    ExportedProgramFormat(),
    NPZFormat(),
    NPYFormat(),
    GGUFFormat(),
    ShardedFormat(),
    ZippedFormat(),
    ONNXFormat(),
    NCNNFormat(),
    FlaxFormat(),
  ])

  /// The formats that can be written.
  public var writableFormats: [any ModelFormat] { formats.filter(\.canWrite) }

  /// Opens a model file of any known format; the file's extension is irrelevant.
  ///
  /// - Parameter path: a file, or a folder that holds exactly one index of a sharded checkpoint, or
  ///   else exactly one model file.
  public func open(_ path: String, access: InputFile.Access = .mapped) throws -> TensorArchive {
    let file = try InputFile(path: try ModelFolder.modelPath(in: path), access: access)
    var archive = try format(of: file).read(file)
    if archive.sourceFiles.isEmpty { archive.sourceFiles = [file.path] }
    return archive
  }

  /// Returns the format whose signature the file carries.
  ///
  /// - Throws: `ModelError` that names what the file looks like instead.
  public func format(of file: InputFile) throws -> any ModelFormat {
    // A failing disk must not look like an unknown format.
    _ = try file.bytes(at: 0, count: min(file.byteCount, 16), purpose: "the signature")
    if FileSignature.misleading(file) == nil,
      let format = formats.first(where: { $0.recognizes(file) })
    {
      return format
    }
    throw ModelError(
      .unrecognizedFormat(found: FileSignature.describe(file)), path: file.path)
  }

  /// Returns the format whose identifier has this name, or `nil` if there is none.
  public func format(named name: String) -> (any ModelFormat)? {
    formats.first { $0.identifier.name == name }
  }

  /// Returns the writable format that an output path's extension stands for.
  public func format(forOutput path: String) -> (any ModelFormat)? {
    let pathExtension = path.pathExtension
    return writableFormats.first { $0.identifier.fileExtensions.contains(pathExtension) }
  }

  /// Writes `archive` as `format`; the file appears whole at `path` or not at all.
  ///
  /// - Parameters:
  ///   - replacesExisting: whether a file that is there already is replaced; otherwise it is an error.
  ///   - run: runs the making of the records; the bytes do not depend on it.
  ///   - progress: called with each record's tensor and source bytes, from any thread.
  /// - Throws: `ModelError` on reading and writing, and for what the format cannot represent.
  public func write(
    _ archive: TensorArchive, as format: any ModelFormat, to path: String,
    replacesExisting: Bool = false, runningTasks run: @escaping TaskRunner = sequentially,
    progress: WriteProgress? = nil
  ) throws {
    try OutputDestination.check(path, replacesExisting: replacesExisting)
    try locatingErrors(path: path) { try format.plan(archive, runningTasks: run) }
      .write(
        to: path, replacesExisting: replacesExisting, runningTasks: run, progress: progress)
  }
}
