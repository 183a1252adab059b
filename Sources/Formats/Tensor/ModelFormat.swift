import Storage

/// A file format for named tensors, which recognizes its files by content, reads their index, and
/// writes them.
///
/// Conforming types are stateless. Adding a format means one folder with one conforming type, and
/// one line in `FormatRegistry.standard`.
///
/// ```swift
/// let file = try InputFile(path: "model.bin")
/// let format = try FormatRegistry.standard.format(of: file)
/// print(format.identifier.displayName, format.canWrite)
/// print(try format.read(file).tensors.count)
/// ```
public protocol ModelFormat: Sendable {
  /// The format's name and file name extensions; the same for every value of the type.
  var identifier: FormatIdentifier { get }

  /// Whether `plan` can succeed; a format that is only read conforms to `ReadOnlyModelFormat`.
  var canWrite: Bool { get }

  /// Whether files of the format hold numbers and text alone, so that an audit looks no further than
  /// `read` does.
  var isFreeOfCode: Bool { get }

  /// Whether the content has this format, judged by its first bytes or its directory.
  ///
  /// A damaged file of this format is still recognized if its signature is intact, so that `read`
  /// can say what is wrong with it. Extensions are ignored.
  func recognizes(_ file: InputFile) -> Bool

  /// Reads the index. Tensor bytes are loaded from `file` on demand.
  ///
  /// - Throws: `ModelError` when the file violates the format's rules.
  func read(_ file: InputFile) throws -> TensorArchive

  /// Plans a file of all tensors, values and metadata of `archive`.
  ///
  /// Tensors are loaded when their records are made. A plan keeps at most 256 MiB of what had to be
  /// compressed to learn its length.
  ///
  /// - Parameter run: runs the work on tensors that is needed to know their records' lengths.
  /// - Throws: `ModelError`, in particular when the format cannot represent something: nothing is
  ///   ever left out.
  func plan(_ archive: TensorArchive, runningTasks run: TaskRunner) throws -> PlannedFile<Never>
}

extension ModelFormat {
  public var canWrite: Bool { true }

  /// Formats say so for themselves.
  public var isFreeOfCode: Bool { false }

  /// Plans a file of `archive` on this thread.
  public func plan(_ archive: TensorArchive) throws -> PlannedFile<Never> {
    try plan(archive, runningTasks: sequentially)
  }
}

/// The stable name of a format, as in `--to safetensors` and in reports.
///
/// ```swift
/// let identifiers = FormatRegistry.standard.writableFormats.map(\.identifier)
/// for identifier in identifiers { print(identifier.name, identifier.fileExtensions) }
/// ```
public struct FormatIdentifier: Hashable, Sendable {
  /// The name used on the command line and in reports.
  public let name: String
  /// The name used in sentences.
  public let displayName: String
  /// The file name extensions for which this format is written, the preferred one first.
  public let fileExtensions: [String]

  public init(name: String, displayName: String, fileExtensions: [String]) {
    self.name = name
    self.displayName = displayName
    self.fileExtensions = fileExtensions
  }
}

/// A format whose files can only be read.
package protocol ReadOnlyModelFormat: ModelFormat {}

extension ReadOnlyModelFormat {
  package var canWrite: Bool { false }

  /// Throws an error, because the format is only read.
  ///
  /// - Throws: `ModelError`, always.
  package func plan(
    _ archive: TensorArchive, runningTasks run: TaskRunner
  ) throws -> PlannedFile<Never> {
    throw ModelError.unsupported("\(identifier.displayName) files can be read but not written")
  }
}
