import Glibc

/// An error that says why a file, such as a model or an image, cannot be used, and where in it.
///
/// The description is one line for a person: file, tensor, byte offset, then the problem, as in
/// `model.safetensors: tensor 'h.0.weight' at byte 4096: expected 2048 bytes for float16 [32, 32],
/// found 2000`.
///
/// ```swift
/// do {
///   let archive = try FormatRegistry.standard.open("model.pth")
///   try SafetensorsFormat().plan(archive).write(to: "model.safetensors")
/// } catch let error as ModelError where error.problem == .outputExists {
///   print(error)  // model.safetensors: already exists
/// }
/// ```
public struct ModelError: Error, Hashable, Sendable {
  /// What is wrong.
  public enum Problem: Hashable, Sendable {
    /// The content matches none of the registered formats.
    case unrecognizedFormat(found: String)
    /// The bytes break the format's rules.
    case malformed(String)
    /// A quantity in the file differs from what the format or the file itself requires.
    case mismatch(expected: String, found: String)
    /// The data ends before it should.
    case truncated(expectedBytes: Int, foundBytes: Int, purpose: String)
    /// The file, valid or not, exceeds a documented limit.
    case limitExceeded(what: String, limit: Int, found: String)
    /// The file is valid but uses a feature that this version cannot represent.
    case unsupported(String)
    /// The request does not fit the model, the image or the data set.
    case unsuitable(String)
    /// The stored checksum differs from that of the bytes read.
    case checksumMismatch(expected: UInt32, found: UInt32)
    /// The operating system refused.
    case system(operation: String, code: Int32)
    /// The output exists and may not be replaced.
    case outputExists
  }

  /// A way out of a problem, for a program to offer, such as by an option.
  package enum Remedy: Hashable, Sendable {
    /// Padding rows to whole blocks.
    case padding
    /// Rounding zero points to integers.
    case integerZeroPoints
    /// Naming the element type of raw bytes.
    case rawElementType
    /// Giving the images on which a distilled model is compared.
    case validationImages
    /// Running the jobs of a plan.
    case jobs
    /// Quantizing without learning.
    case noLearning
    /// Making a damaged file again from what it was packed from.
    case source
    /// Planning a conversion.
    case plan
    /// Recording statistics of activations.
    case calibration
    /// Naming the configuration.
    case configuration
    /// Examining what loading would run.
    case audit
    /// Asking for the networks that can be run.
    case networks
    /// Exporting to ONNX.
    case onnx
  }

  /// What is wrong; the other members say where.
  public var problem: Problem
  /// The file's path as the user gave it, or another name of the source, such as `recipe 'body'`.
  public var path: String?
  /// The tensor concerned.
  public var tensor: String?
  /// The zip entry or similar part that holds the bytes, when the tensor is unknown.
  public var entry: String?
  /// Byte offset in the file, or in `tensor`'s own bytes where the file holds them compressed.
  public var offset: Int?
  /// A way out, if there is one; not part of the description.
  package var remedy: Remedy?

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

  /// Creates an error of kind `Problem.unsuitable`.
  package init(_ message: String, path: String? = nil, tensor: String? = nil) {
    self.init(.unsuitable(message), path: path, tensor: tensor)
  }

  /// Whether the request does not fit the content, such as a recipe that quantizes weights that are
  /// not finite.
  ///
  /// Another attempt fails the same way, so nothing need be kept for it. False for damaged files,
  /// which can be repaired, and for errors of the operating system.
  package var isUnsuitable: Bool {
    if case .unsuitable = problem { true } else { false }
  }

  /// Returns an error of kind `Problem.malformed`.
  package static func malformed(
    _ message: String, path: String? = nil, tensor: String? = nil, entry: String? = nil,
    offset: Int? = nil
  ) -> ModelError {
    ModelError(.malformed(message), path: path, tensor: tensor, entry: entry, offset: offset)
  }

  /// Returns an error of kind `Problem.unsupported`.
  package static func unsupported(
    _ message: String, path: String? = nil, tensor: String? = nil, entry: String? = nil,
    offset: Int? = nil
  ) -> ModelError {
    ModelError(.unsupported(message), path: path, tensor: tensor, entry: entry, offset: offset)
  }

  /// Returns an error of kind `Problem.mismatch`.
  package static func mismatch(
    expected: String, found: String, path: String? = nil, tensor: String? = nil,
    entry: String? = nil, offset: Int? = nil
  ) -> ModelError {
    ModelError(
      .mismatch(expected: expected, found: found), path: path, tensor: tensor, entry: entry,
      offset: offset)
  }

  /// Returns this error with a way out.
  package func offering(_ remedy: Remedy) -> ModelError {
    var error = self
    error.remedy = remedy
    return error
  }

  /// Returns this error with the parts of its place filled in that it does not know yet.
  package func located(
    path: String? = nil, tensor: String? = nil, entry: String? = nil, offset: Int? = nil
  ) -> ModelError {
    var error = self
    error.path = error.path ?? path
    error.tensor = error.tensor ?? tensor
    error.entry = error.entry ?? entry
    error.offset = error.offset ?? offset
    return error
  }
}

/// Runs `body` and fills in the place of any `ModelError` that does not know it.
package func locatingErrors<Result>(
  path: String? = nil, tensor: String? = nil, entry: String? = nil, _ body: () throws -> Result
) throws -> Result {
  do {
    return try body()
  } catch let error as ModelError {
    throw error.located(path: path, tensor: tensor, entry: entry)
  }
}

extension ModelError: CustomStringConvertible {
  public var description: String {
    var place: [String] = []
    if let name = tensor.map({ "tensor '\($0)'" }) ?? entry.map({ "entry '\($0)'" }) {
      place.append(name.escapingControlCharacters)
    }
    if let offset { place.append("at byte \(offset)") }
    let prefix = [
      path?.escapingControlCharacters, place.isEmpty ? nil : place.joined(separator: " "),
    ]
    .compactMap { $0 }
    return (prefix + ["\(problem)"]).joined(separator: ": ")
  }
}

extension ModelError.Problem: CustomStringConvertible {
  public var description: String {
    switch self {
    case .unrecognizedFormat(let found):
      "not a model file of a known format: \(found)"
    case .malformed(let message), .unsupported(let message), .unsuitable(let message):
      message.escapingControlCharacters
    case .mismatch(let expected, let found):
      "expected \(expected), found \(found)".escapingControlCharacters
    case .truncated(let expectedBytes, let foundBytes, let purpose):
      "expected \(counted(expectedBytes, "byte")) for \(purpose), found \(foundBytes)"
    case .limitExceeded(let what, let limit, let found):
      "\(what) is limited to \(limit), found \(found)"
    case .checksumMismatch(let expected, let found):
      "expected checksum \(hexadecimal(expected)), found \(hexadecimal(found))"
    case .system(let operation, let code):
      "cannot \(operation): \(String(cString: strerror(code)))"
    case .outputExists:
      "already exists"
    }
  }

  private func hexadecimal(_ value: UInt32) -> String {
    let digits = String(value, radix: 16)
    return String(repeating: "0", count: 8 - digits.count) + digits
  }
}
