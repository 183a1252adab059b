import Storage

/// Something in a model file that was left out when it was read, because it is no tensor or value
/// that can be read without executing code.
///
/// ```swift
/// for entry in archive.unread { print("left out \(entry)") }
/// // left out 'when' (<M8[D]): NumPy dates are not supported
/// ```
public struct UnreadEntry: Codable, Hashable, Sendable, CustomStringConvertible {
  /// The place in the file: a name as those of tensors are, or a member of an archive.
  public var name: String
  /// The class or element type, as the file calls it.
  public var kind: String
  /// Why it was left out, and the way out where there is one: a lower-case sentence without an end.
  public var reason: String

  public init(name: String, kind: String, reason: String) {
    self.name = name
    self.kind = kind
    self.reason = reason
  }

  public var description: String { "'\(name)' (\(kind)): \(reason)" }
}

extension [UnreadEntry] {
  /// Entries beyond this many are only counted where they are listed in sentences.
  private static let sentenceLimit = 20

  /// One sentence for each entry, without an end.
  package var sentences: [String] {
    let sentences = prefix(Self.sentenceLimit).map { "left out \($0)" }
    let others = count - sentences.count
    return sentences + (others > 0 ? ["left out \(counted(others, "other entry"))"] : [])
  }
}

extension TensorArchive {
  /// What a user should know of how the archive was read: its notes, and what was left out.
  package var remarks: [String] { notes + unread.sentences }

  /// The archive with the tensors of raw bytes whose type the file does not name (`<V2` of NumPy) read
  /// as the one of `types` that is as wide.
  package func interpretingRawBytes(as types: [ElementType]) throws -> TensorArchive {
    guard !types.isEmpty else { return self }
    var archive = self
    for (name, tensor) in tensors where tensor.unreadableType != nil {
      archive.tensors[name] = try tensor.interpreted(asOneOf: types)
    }
    return archive
  }

  /// Checks what no writer could write: tensors of an unknown element type, or none at all.
  ///
  /// - Throws: `ModelError` when the elements of a tensor cannot be read, or tensors are in the file and
  ///   none of them could be.
  package func requireReadableTensors() throws {
    if let (name, tensor) = tensors.elements.first(where: { $0.value.unreadableReason != nil }) {
      throw ModelError.unsupported(tensor.unreadableReason ?? "", tensor: name)
    }
    guard tensors.isEmpty, let first = unread.first else { return }
    throw ModelError.unsupported(
      "no tensor can be read: \(first)"
        + (unread.count > 1 ? ", and \(counted(unread.count - 1, "other entry"))" : ""))
  }
}
