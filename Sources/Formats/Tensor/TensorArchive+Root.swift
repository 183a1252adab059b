import OrderedCollections

extension TensorArchive {
  /// Only what lies below `root`, with names counted from there.
  ///
  /// - Parameter root: a dotted path such as `params_ema` or `ema.model`.
  /// - Throws: `FormatError` when no tensor lies below it.
  public func selecting(root: String) throws -> TensorArchive {
    let prefix = "\(root)."
    func rest(_ name: String) -> String? {
      name.hasPrefix(prefix) ? String(name.dropFirst(prefix.count)) : nil
    }
    var selected = TensorArchive(format: format, metadata: metadata, notes: notes)
    selected.sourceFiles = sourceFiles
    for (name, file) in fileOfTensor {
      if let name = rest(name) { selected.fileOfTensor[name] = file }
    }
    selected.activations = activations.map { activation in
      var activation = activation
      activation.name = rest(activation.name) ?? activation.name
      return activation
    }
    selected.packedSummary = packedSummary
    for (name, tensor) in tensors {
      if let name = rest(name) { selected.tensors[name] = tensor }
    }
    for (name, value) in values {
      if let name = rest(name) { selected.values[name] = value }
    }
    selected.unread = unread.compactMap { entry in
      rest(entry.name).map { UnreadEntry(name: $0, kind: entry.kind, reason: entry.reason) }
    }
    for (name, count) in storedByteCounts {
      if let name = rest(name) { selected.storedByteCounts[name] = count }
    }
    for place in stateDictionaries {
      if place.isEmpty || place == root || root.hasPrefix("\(place).") {
        selected.stateDictionaries.insert("")
      } else if let place = rest(place) {
        selected.stateDictionaries.insert(place)
      }
    }
    selected.groups = groups.compactMap { group in
      guard let name = rest(group.name) else { return nil }
      var group = group
      group.name = name
      group.parts = group.parts.map { rest($0) ?? $0 }
      return group
    }
    guard !selected.tensors.isEmpty else {
      throw FormatError.mismatch(
        expected: "tensors below the root '\(root)'",
        found: "\(counted(tensors.count, "tensor")), such as '\(tensors.keys.first ?? "none")'")
    }
    selected.structure = structure?.subtree(at: root)?.renamingLeaves { rest($0) ?? $0 }
    return selected
  }
}

extension ArchiveStructure {
  /// The container named `path`, a dotted name in which keys themselves may have dots.
  func subtree(at path: String) -> ArchiveStructure? {
    let children: [(name: String, value: ArchiveStructure)]
    switch self {
    case .leaf, .unread: return nil
    case .dictionary(let entries, _):
      children = entries.map { (Self.component(of: $0.key), $0.value) }
    case .list(let items), .tuple(let items), .set(let items):
      children = items.enumerated().map { ("\($0)", $1) }
    }
    for (name, value) in children {
      if name == path { return value }
      if path.hasPrefix("\(name)."),
        let found = value.subtree(at: String(path.dropFirst(name.count + 1)))
      {
        return found
      }
    }
    return nil
  }
}

extension TensorArchive {
  /// Two archives with names that can be compared.
  ///
  /// Where they have no name in common because one keeps its weights below a root, the weights are
  /// taken from there.
  ///
  /// - Returns: the archives, and the root that was taken in each, `nil` for the whole.
  package static func aligned(_ first: TensorArchive, _ second: TensorArchive) -> (
    first: (archive: TensorArchive, root: String?), second: (archive: TensorArchive, root: String?)
  ) {
    func sharesNames(_ left: TensorArchive, _ right: TensorArchive) -> Bool {
      left.tensors.keys.contains { right.tensors[$0] != nil }
    }
    func candidates(_ archive: TensorArchive) -> [(archive: TensorArchive, root: String?)] {
      let roots = archive.networks.compactMap(\.root).compactMap { root in
        (try? archive.selecting(root: root)).map { (archive: $0, root: Optional(root)) }
      }
      return [(archive, nil)] + roots
    }
    for left in candidates(first) {
      for right in candidates(second) where sharesNames(left.archive, right.archive) {
        return (left, right)
      }
    }
    return ((first, nil), (second, nil))
  }
}
