import OrderedCollections
import Storage
import Synchronization

/// What edits made of an archive.
public struct ArchiveChanges: Sendable {
  /// A tensor or value with another name.
  public struct Renaming: Codable, Hashable, Sendable {
    /// The name in the input.
    public let from: String
    /// The name in the output.
    public let to: String
  }

  /// A tensor that a cast's pattern matches but that keeps its type.
  public struct Uncast: Codable, Hashable, Sendable {
    /// The name in the output.
    public let name: String
    /// The reason, as a lower-case sentence without a full stop.
    public let reason: String
  }

  /// The tensors and values with another name, in the input's order.
  public internal(set) var renamed: [Renaming] = []
  /// The input's names of the tensors and values that were left out.
  public internal(set) var dropped: [String] = []
  /// The tensors that a cast's pattern matches but that keep their type.
  public internal(set) var uncast: [Uncast] = []
  /// The tensors of another type, by their names in the output.
  fileprivate var cast: OrderedDictionary<String, Tensor> = [:]
  fileprivate let tally = CastTally()

  /// Returns what each cast changed, in the output's order. Tensors that were not loaded since, as
  /// those that an earlier run had written, are loaded for it.
  ///
  /// - Throws: `ModelError` when a tensor cannot be read.
  public func castLosses() throws -> [CastLoss] {
    try cast.map { name, tensor in
      if let loss = tally[name] { return loss }
      _ = try locatingErrors(tensor: name) { try tensor.bytes() }
      guard let loss = tally[name] else {
        throw ModelError("what its cast changed is not known", tensor: name)
      }
      return loss
    }
  }
}

/// The counts of casts, which are made when tensors are loaded, on any thread.
private final class CastTally: Sendable {
  private let losses = Mutex([String: CastLoss]())

  subscript(name: String) -> CastLoss? { losses.withLock { $0[name] } }

  func note(_ loss: CastLoss) { losses.withLock { $0[loss.name] = loss } }
}

extension TensorArchive {
  /// Returns the archive with tensors left out, renamed and cast; no tensor is read.
  ///
  /// Names that share a tensor share the cast one. Tensors that cannot be cast, such as integers,
  /// keep their type and are listed. Codes that belong together with their scales are cast as the
  /// weight that they stand for, which takes the place of its parts.
  ///
  /// - Throws: `ModelError` when a pattern matches nothing, two names become equal, nothing is left,
  ///   or an item of a list, which has no name of its own, would be renamed or left out.
  public func edited(
    by edits: ArchiveEdits
  ) throws -> (archive: TensorArchive, changes: ArchiveChanges) {
    var editing = ArchiveEditing(self)
    try editing.drop(edits.drops)
    try editing.rename(edits.renames)
    try editing.cast(edits.casts)
    editing.archive.edits = edits
    return (editing.archive, editing.changes)
  }

  /// Returns the archive with the edits made that `packed` records, if more of its tensors then
  /// agree with those of `packed` in name and type; `nil` otherwise.
  package func edited(like packed: TensorArchive) -> TensorArchive? {
    guard let edits = packed.edits, edits != self.edits,
      // Edits that are already made, or that are for another model, do not fit.
      let edited = try? edited(by: edits).archive
    else { return nil }
    return packed.agreeingTensorCount(edited) > packed.agreeingTensorCount(self) ? edited : nil
  }

  private func agreeingTensorCount(_ other: TensorArchive) -> Int {
    tensors.count { other.tensors[$0.key]?.elementType == $0.value.elementType }
  }
}

/// An archive on its way from the input to the output.
private struct ArchiveEditing {
  var archive: TensorArchive
  var changes = ArchiveChanges()

  init(_ archive: TensorArchive) {
    self.archive = archive
  }

  private var names: [String] {
    Array(archive.tensors.keys) + Array(archive.values.keys) + archive.unread.map(\.name)
  }

  // MARK: Names

  mutating func drop(_ globs: [NameGlob]) throws {
    guard !globs.isEmpty else { return }
    for glob in globs where !names.contains(where: glob.matches) {
      throw ModelError.mismatch(
        expected: "a tensor name that '\(glob)' matches",
        found: "none" + glob.suggestion(among: names))
    }
    changes.dropped = names.filter { name in globs.contains { $0.matches(name) } }
    let dropped = Set(changes.dropped)
    archive.tensors.removeAll { dropped.contains($0.key) }
    archive.values.removeAll { dropped.contains($0.key) }
    archive.unread.removeAll { dropped.contains($0.name) }
    guard !archive.tensors.isEmpty else {
      throw ModelError("no tensor is left: \(counted(dropped.count, "name")) are dropped")
    }
    archive.structure = try archive.structure?.editingLeaves { dropped.contains($0) ? nil : $0 }
    // A tensor that is missing now may well exist.
    archive.stateDictionaries = []
  }

  mutating func rename(_ replacements: [NameReplacement]) throws {
    guard !replacements.isEmpty else { return }
    let origins = names
    var renamed = origins
    for replacement in replacements {
      let replaced = try replacement.applied(to: renamed)
      guard replaced != renamed else {
        throw ModelError.mismatch(
          expected: "a tensor name that '\(replacement.pattern)' changes",
          found: "names such as \(renamed.quotedList(limit: 1))")
      }
      renamed = replaced
    }
    if let (_, origin) = zip(renamed, origins).first(where: { $0.0.isEmpty }) {
      throw ModelError.malformed("nothing would be left of its name", tensor: origin)
    }
    try NameReplacement.checkDistinct(renamed, from: origins)
    let newNames = Dictionary(zip(origins, renamed)) { first, _ in first }
    func renaming<Value>(
      _ values: OrderedDictionary<String, Value>
    ) -> OrderedDictionary<String, Value> {
      OrderedDictionary(uniqueKeysWithValues: values.map { (newNames[$0] ?? $0, $1) })
    }
    archive.tensors = renaming(archive.tensors)
    archive.values = renaming(archive.values)
    for index in archive.unread.indices {
      archive.unread[index].name = newNames[archive.unread[index].name] ?? ""
    }
    archive.fileOfTensor = Self.renaming(archive.fileOfTensor, to: newNames)
    archive.storedByteCounts = Self.renaming(archive.storedByteCounts, to: newNames)
    for index in archive.groups.indices {
      if let name = newNames[archive.groups[index].name] { archive.groups[index].name = name }
    }
    archive.structure = try archive.structure?.editingLeaves { newNames[$0] ?? $0 }
    // Only the whole is known to keep its place.
    archive.stateDictionaries.formIntersection([""])
    changes.renamed = zip(origins, renamed).filter { $0 != $1 }
      .map { ArchiveChanges.Renaming(from: $0, to: $1) }
  }

  private static func renaming<Value>(
    _ values: [String: Value], to newNames: [String: String]
  ) -> [String: Value] {
    Dictionary(values.map { (newNames[$0] ?? $0, $1) }) { first, _ in first }
  }

  // MARK: Element types

  /// What makes two names refer to the same elements in the same storage.
  private struct SharedView: Hashable {
    let storage: ObjectIdentifier
    let elementOffset: Int
    let strides: [Int]
    let shape: Shape
    let elementType: ElementType
    let target: ElementType
  }

  mutating func cast(_ casts: [ArchiveEdits.Cast]) throws {
    guard !casts.isEmpty else { return }
    let groups = takeAssembledWeights(of: casts)
    var isUsed = [Bool](repeating: false, count: casts.count)
    var made: [SharedView: Tensor] = [:]
    for (name, tensor) in archive.tensors {
      for index in casts.indices where casts[index].pattern.matches(name) { isUsed[index] = true }
      guard let cast = casts.first(where: { $0.pattern.matches(name) }),
        cast.elementType != tensor.elementType
      else { continue }
      if let reason = obstacle(to: tensor, named: name, of: groups) {
        changes.uncast.append(.init(name: name, reason: reason))
        continue
      }
      archive.storedByteCounts[name] = archive.storedByteCounts[name] ?? tensor.byteCount
      let view = tensor.view.map {
        SharedView(
          storage: ObjectIdentifier($0.storage), elementOffset: $0.elementOffset,
          strides: $0.strides, shape: tensor.shape, elementType: tensor.elementType,
          target: cast.elementType)
      }
      let result: Tensor
      if let shared = view.flatMap({ made[$0] }) {
        result = shared
      } else {
        result = try casting(tensor, named: name, to: cast.elementType)
        changes.cast[name] = result
        if let view { made[view] = result }
      }
      archive.tensors[name] = result
    }
    if let unused = isUsed.firstIndex(of: false) {
      throw ModelError.mismatch(
        expected: "a tensor name that '\(casts[unused].pattern)' matches",
        found: "none" + casts[unused].pattern.suggestion(among: archive.tensors.keys))
    }
  }

  private func obstacle(
    to tensor: Tensor, named name: String, of groups: [TensorGroup]
  ) -> String? {
    if let reason = tensor.unreadableReason { return reason }
    guard tensor.elementType.isFloatingPoint else {
      return "\(tensor.elementType): only floating-point tensors are cast"
    }
    guard let group = groups.first(where: { !$0.isAssembled && $0.parts.contains(name) }),
      group.kind.isOfCodes
    else { return nil }
    return "\(group.rule)\(group.obstacle.map { ": \($0)" } ?? "")"
  }

  private func casting(
    _ tensor: Tensor, named name: String, to target: ElementType
  ) throws -> Tensor {
    let loss = CastLoss(name: name, from: tensor.elementType, to: target)
    guard let byteCount = target.byteCount(forElements: tensor.shape.elementCount) else {
      throw ModelError.mismatch(
        expected: "elements below 2^63 bytes", found: "\(target) \(tensor.shape)", tensor: name)
    }
    return try Tensor(
      elementType: target, shape: tensor.shape,
      storage: TensorStorage(byteCount: byteCount) { [tally = changes.tally] in
        var loss = loss
        let bytes = try tensor.castBytes(to: target, counting: &loss)
        tally.note(loss)
        return bytes
      }, elementOffset: 0, strides: tensor.shape.rowMajorStrides)
  }

  /// Puts weights in place of their codes and scales, where a pattern matches their names.
  ///
  /// - Returns: all groups of stored tensors that belong together.
  private mutating func takeAssembledWeights(of casts: [ArchiveEdits.Cast]) -> [TensorGroup] {
    guard archive.groups.isEmpty else { return archive.groups }
    let assembled = archive.assembled()
    let taken = assembled.groups.filter { group in
      group.isAssembled && casts.contains { $0.pattern.matches(group.name) }
    }
    archive = archive.taking(taken, from: assembled)
    return assembled.groups
  }
}

extension ArchiveStructure {
  /// Returns the structure with leaves renamed and left out.
  ///
  /// A leaf that keeps the beginning of its name stays in its container; others move to the
  /// outermost dictionary, under their whole name.
  ///
  /// - Parameter newName: returns the new name of a leaf, or `nil` to leave it out.
  /// - Throws: `ModelError` for items of lists, and if the outermost container has no names.
  fileprivate func editingLeaves(
    _ newName: (String) -> String?
  ) throws -> ArchiveStructure {
    var moved: [String] = []
    let edited = try editingLeaves(newName, in: "", moving: &moved)
    guard case .dictionary(let entries, let isOrdered)? = edited else { return self }
    return .dictionary(
      entries + moved.map { Entry(key: .text($0), value: .leaf($0)) }, isOrdered: isOrdered)
  }

  private func editingLeaves(
    _ newName: (String) -> String?, in container: String, moving moved: inout [String]
  ) throws -> ArchiveStructure? {
    func items(_ items: [ArchiveStructure]) throws -> [ArchiveStructure] {
      try items.enumerated().compactMap { index, item in
        try item.editingLeaves(
          newName, in: Self.join(container, "\(index)"), moving: &moved)
      }
    }
    switch self {
    case .leaf(let name), .unread(let name):
      // Dictionaries see to what has a name; the others are items of lists.
      guard newName(name) == name else {
        throw ModelError.unsupported(
          "it is an item of a list, and can be neither renamed nor dropped alone", tensor: name)
      }
      return self
    // A container goes with the last of its content.
    case _ where !leafNames.isEmpty && leafNames.allSatisfy({ newName($0) == nil }): return nil
    case .dictionary(let entries, let isOrdered):
      var kept: [Entry] = []
      for entry in entries {
        switch entry.value {
        case .leaf(let name), .unread(let name):
          guard let new = newName(name) else { continue }
          let isTensor = if case .leaf = entry.value { true } else { false }
          let prefix = container.isEmpty ? "" : "\(container)."
          if new == name {
            kept.append(entry)
          } else if new.hasPrefix(prefix), new.utf8.count > prefix.utf8.count {
            kept.append(
              Entry(
                key: .text(String(new.dropFirst(prefix.count))),
                value: isTensor ? .leaf(new) : .unread(new)))
          } else if isTensor {
            moved.append(new)
          }
        default:
          let path = Self.join(container, Self.component(of: entry.key))
          if let value = try entry.value.editingLeaves(newName, in: path, moving: &moved) {
            kept.append(Entry(key: entry.key, value: value))
          }
        }
      }
      return .dictionary(kept, isOrdered: isOrdered)
    case .list(let list): return .list(try items(list))
    case .tuple(let list): return .tuple(try items(list))
    case .set(let list): return .set(try items(list))
    }
  }
}
