import Storage

/// An entry of a model file that was left out on reading, because it is not a tensor or value that
/// can be read without executing code.
///
/// ```swift
/// for entry in try FormatRegistry.standard.open("records.npz").unread {
///   print("left out \(entry)")
/// }
/// // left out 'when' (<M8[D]): NumPy dates ('<M8[D]') are not supported; save them as int64
/// ```
public struct UnreadEntry: Codable, Hashable, Sendable, CustomStringConvertible {
  /// The location in the file: a name like those of tensors, or a member of an archive.
  public var name: String
  /// The class or element type, as named in the file.
  public var kind: String
  /// The reason for leaving it out, with a way out if there is one, as a lower-case sentence
  /// without a full stop.
  public var reason: String

  public init(name: String, kind: String, reason: String) {
    self.name = name
    self.kind = kind
    self.reason = reason
  }

  public var description: String { "'\(name)' (\(kind)): \(reason)" }
}

extension [UnreadEntry] {
  /// The number of entries beyond which they are only counted in a list of sentences.
  private static let sentenceLimit = 20

  /// One sentence per entry, without a full stop.
  package var sentences: [String] {
    let sentences = prefix(Self.sentenceLimit).map { "left out \($0)" }
    let others = count - sentences.count
    return sentences + (others > 0 ? ["left out \(counted(others, "other entry"))"] : [])
  }
}

extension TensorArchive {
  /// Remarks for the user on how the archive was read: its notes, and the entries that were left
  /// out.
  package var remarks: [String] { notes + unread.sentences }

  /// Returns the archive with raw bytes whose type the file does not name (`<V2` of NumPy) read as
  /// the one of `types` that has the same width.
  package func interpretingRawBytes(as types: [ElementType]) throws -> TensorArchive {
    guard !types.isEmpty else { return self }
    var archive = self
    for (name, tensor) in tensors where tensor.unreadableType != nil {
      archive.tensors[name] = try tensor.interpreted(asOneOf: types)
    }
    return archive
  }

  /// Checks that a writer could write the archive: element types are known, and some tensor was
  /// read.
  ///
  /// - Throws: `ModelError` when the elements of a tensor cannot be read, or when the file holds
  ///   tensors but none of them could be read.
  package func requireReadableTensors() throws {
    if let (name, tensor) = tensors.elements.first(where: { $0.value.unreadableReason != nil }) {
      let error = ModelError.unsupported(tensor.unreadableReason ?? "", tensor: name)
      throw tensor.interpretation == nil ? error : error.offering(.rawElementType)
    }
    guard tensors.isEmpty, let first = unread.first else { return }
    throw ModelError.unsupported(
      "no tensor can be read: \(first)"
        + (unread.count > 1 ? ", and \(counted(unread.count - 1, "other entry"))" : ""))
  }
}
