import Formats
import Storage

/// Opens the model files that commands are given.
enum ModelArgument {
  /// Opens the archive at `path`, or its part below `root`, and prints the remarks of reading it.
  ///
  /// - Parameter isStored: whether groups of tensors stay as they are stored.
  static func open(
    _ path: String, root: String? = nil, stored isStored: Bool = false, common: CommonOptions
  ) throws -> TensorArchive {
    try part(
      root, of: openWhole(path, common: common), path: path, stored: isStored, common: common)
  }

  /// Opens the archive at `path` as it is stored, and prints the remarks of reading it.
  static func openWhole(_ path: String, common: CommonOptions) throws -> TensorArchive {
    let archive = try FormatRegistry.standard.open(
      StandardInput.path(path), access: common.access
    ).interpretingRawBytes(as: common.input.voidTypes)
    for note in archive.remarks {
      Console.note("\(path): \(note.escapingControlCharacters)", unless: common.quiet)
    }
    return archive
  }

  /// Returns the part of an open archive below `root`, if any, with its groups of tensors assembled
  /// unless they are to stay as they are stored.
  static func part(
    _ root: String?, of archive: TensorArchive, path: String, stored isStored: Bool,
    common: CommonOptions
  ) throws -> TensorArchive {
    let part = try locatingErrors(path: path) {
      try root.map { try archive.selecting(root: $0) } ?? archive
    }
    return isStored ? part : assembled(part, path: path, common: common)
  }

  /// Returns the archive with groups of tensors assembled, and prints notes about them.
  ///
  /// - Parameter configuration: the configuration; `nil` for the one beside the file.
  static func assembled(
    _ archive: TensorArchive, path: String, configuration: JSONValue? = nil, common: CommonOptions
  ) -> TensorArchive {
    // Nothing lies beside standard input.
    let configuration = path == StandardInput.argument ? .object([:]) : configuration
    let assembled = archive.assembled(configuration: configuration)
    let notes = assembled.notes.dropFirst(archive.notes.count)
    for sentence in notes + assembled.groups.sentences {
      Console.note("\(path): \(sentence.escapingControlCharacters)", unless: common.quiet)
    }
    return assembled
  }

  /// Opens the model with which a packed file is compared: the part below `root`, or else the part
  /// that was packed, if the file has it. A copy may hold only that part.
  ///
  /// - Parameters:
  ///   - isStored: whether groups of tensors stay as they are stored.
  ///   - edits: the changes of names and types before it was packed, which are made again.
  ///   - header: the packed file's header; if the file holds groups of tensors as they are stored,
  ///     the reference's are not assembled either.
  static func openReference(
    _ path: String, root: String?, sourceRoot: String?, edits: ArchiveEdits?,
    stored isStored: Bool = false, header: PackedHeader? = nil, common: CommonOptions
  ) throws -> TensorArchive {
    var archive = try open(path, root: root, stored: true, common: common)
    if root == nil { archive = try packedPart(sourceRoot, of: archive) }
    func edited(_ archive: TensorArchive) throws -> TensorArchive {
      guard let edits else { return archive }
      return try locatingErrors(path: path) { try archive.edited(by: edits).archive }
    }
    guard !isStored else { return try edited(archive) }
    if let header, edits == nil {
      let isPackedAsStored = archive.assembled().groups.contains { group in
        group.isAssembled && group.parts.contains { $0 != group.name && header.names[$0] != nil }
      }
      if isPackedAsStored { return archive }
    }
    return try edited(assembled(archive, path: path, common: common))
  }

  /// Returns the part of a model that was packed, if it has it. A copy may hold only that part.
  private static func packedPart(
    _ sourceRoot: String?, of archive: TensorArchive
  ) throws -> TensorArchive {
    guard let sourceRoot, archive.tensors.keys.contains(where: { $0.hasPrefix("\(sourceRoot).") })
    else { return archive }
    return try archive.selecting(root: sourceRoot)
  }

  /// Returns the model with the edits made that a packed file records, with a note, if it is what
  /// that file was packed from.
  static func edited(
    _ model: (path: String, archive: TensorArchive),
    like packed: (path: String, archive: TensorArchive), common: CommonOptions
  ) throws -> TensorArchive {
    let part = try packedPart(packed.archive.sourceRoot, of: model.archive)
    guard let edited = part.edited(like: packed.archive) else { return model.archive }
    Console.note(
      "\(model.path): renaming, dropping and casting as \(packed.path) records; --stored does not",
      unless: common.quiet)
    return edited
  }

  /// Returns models whose layers can be compared: if two share no name because one keeps its
  /// weights below a conventional root, the weights are taken from there, with a note.
  static func aligned(
    _ models: [(path: String, archive: TensorArchive)], common: CommonOptions
  ) -> [TensorArchive] {
    guard let first = models.first else { return [] }
    var base: (archive: TensorArchive, root: String?) = (first.archive, nil)
    for model in models.dropFirst() {
      let aligned = TensorArchive.aligned(base.archive, model.archive).first
      if aligned.root != nil { base = aligned }
    }
    let all =
      [base] + models.dropFirst().map { TensorArchive.aligned(base.archive, $0.archive).second }
    for (model, aligned) in zip(models, all) {
      guard let root = aligned.root else { continue }
      Console.note("\(model.path): comparing the tensors below '\(root)'", unless: common.quiet)
    }
    return all.map(\.archive)
  }

  /// Opens the weights of a checkpoint below `root`, or those of the first of its networks, with a
  /// note if that is not the whole file.
  static func openWeights(
    _ path: String, root: String?, common: CommonOptions
  ) throws -> (archive: TensorArchive, root: String?) {
    let archive = try open(path, root: root, common: common)
    guard root == nil, let taken = archive.conventionalRoot else { return (archive, root) }
    return (try select(taken, of: archive, path: path, common: common), taken)
  }

  /// Selects the network of `archive` below `root`, with a note that lists the other networks.
  static func select(
    _ root: String, of archive: TensorArchive, path: String, common: CommonOptions
  ) throws -> TensorArchive {
    let selected = try locatingErrors(path: path) { try archive.selecting(root: root) }
    let others = archive.tensors.count - selected.tensors.count
    let networks = networkList(of: archive, besides: root)
    Console.note(
      "\(path): taking the \(counted(selected.tensors.count, "tensor")) below '\(root)'"
        + (others > 0 ? ", leaving \(counted(others, "other"))" : "")
        + (networks.map { "; --root selects another network: \($0)" }
          ?? "; --root selects another part"),
      unless: common.quiet)
    return selected
  }

  /// Lists the roots of the networks beside `root` that neither contain it nor lie in it; returns
  /// `nil` if there are none.
  static func networkList(of archive: TensorArchive, besides root: String?) -> String? {
    let networks = archive.networks
    // The search ends there.
    let least = networks.count > TensorArchive.networkLimit ? "at least " : ""
    let others = networks.filter { network in
      guard let other = network.root else { return false }
      return root.map { root in
        !"\(root).".hasPrefix("\(other).") && !"\(other).".hasPrefix("\(root).")
      } ?? true
    }
    guard !others.isEmpty else { return nil }
    let names = others.prefix(8).compactMap { network in
      network.root.map {
        "'\($0.escapingControlCharacters)' (\(counted(network.tensorCount, "tensor")))"
      }
    }
    let rest = others.count - names.count
    return names.joined(separator: ", ")
      + (rest > 0 ? " and \(least)\(counted(rest, "other"))" : "")
  }
}
