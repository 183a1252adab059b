/// Why a model file could not be read or written, with the place where it went wrong.
///
/// The description is one line for a person: file, tensor, byte offset, then the problem, as in
/// `model.safetensors: tensor 'h.0.weight' at byte 4096: expected 2048 bytes for float16 [32, 32],
/// found 2000`.
public struct FormatError: Error, Hashable, Sendable {
  /// What is wrong.
  public enum Problem: Hashable, Sendable {
    /// The file's content belongs to none of the registered formats.
    case unrecognizedFormat(found: String)
    /// The bytes break the format's rules.
    case malformed(String)
    /// A quantity in the file differs from what the format or the file itself requires.
    case mismatch(expected: String, found: String)
    /// The data ends before it should.
    case truncated(expectedBytes: Int, foundBytes: Int, purpose: String)
    /// Valid or not, the file asks for more than a documented limit allows.
    case limitExceeded(what: String, limit: Int, found: String)
    /// A valid file that uses what this version cannot represent.
    case unsupported(String)
    /// The stored checksum is not that of the bytes read.
    case checksumMismatch(expected: UInt32, found: UInt32)
    /// The operating system refused.
    case system(operation: String, code: Int32)
    /// The output exists and may not be replaced.
    case outputExists
  }

  /// What is wrong; the other members say where.
  public var problem: Problem
  /// The file's path as the user gave it.
  public var path: String?
  /// The tensor concerned.
  public var tensor: String?
  /// The zip entry or the like that holds the bytes, for errors that know no tensor.
  public var entry: String?
  /// Byte offset in the file, or in `tensor`'s own bytes where the file holds them compressed.
  public var offset: Int?

  public init(
    _ problem: Problem, path: String? = nil, tensor: String? = nil, entry: String? = nil,
    offset: Int? = nil
  ) {
    self.problem = problem
    self.path = path
    self.tensor = tensor
    self.entry = entry
    self.offset = offset
  }

  /// An error of kind `Problem.malformed`.
  package static func malformed(
    _ message: String, path: String? = nil, tensor: String? = nil, offset: Int? = nil
  ) -> FormatError {
    FormatError(.malformed(message), path: path, tensor: tensor, offset: offset)
  }

  /// An error of kind `Problem.unsupported`.
  package static func unsupported(
    _ message: String, path: String? = nil, tensor: String? = nil, offset: Int? = nil
  ) -> FormatError {
    FormatError(.unsupported(message), path: path, tensor: tensor, offset: offset)
  }

  /// An error of kind `Problem.mismatch`.
  package static func mismatch(
    expected: String, found: String, path: String? = nil, tensor: String? = nil,
    offset: Int? = nil
  ) -> FormatError {
    FormatError(
      .mismatch(expected: expected, found: found), path: path, tensor: tensor, offset: offset)
  }

  /// This error with the place filled in where it is not known yet.
  package func located(
    path: String? = nil, tensor: String? = nil, entry: String? = nil, offset: Int? = nil
  ) -> FormatError {
    var error = self
    error.path = error.path ?? path
    error.tensor = error.tensor ?? tensor
    error.entry = error.entry ?? entry
    error.offset = error.offset ?? offset
    return error
  }
}

/// Runs `body`, and fills in the place of a `FormatError` that does not know it.
package func locatingErrors<Result>(
  path: String? = nil, tensor: String? = nil, entry: String? = nil, _ body: () throws -> Result
) throws -> Result {
  do {
    return try body()
  } catch let error as FormatError {
    throw error.located(path: path, tensor: tensor, entry: entry)
  }
}
