import Formats

/// Opens the model files that commands are given.
enum ModelArgument {
  /// The archive at `path`, or its part below `root`. What reading remarks is said.
  static func open(_ path: String, root: String? = nil, common: CommonOptions) throws
    -> TensorArchive
  {
    let archive = try FormatRegistry.standard.open(
      StandardInput.path(path), access: common.access
    ).interpretingRawBytes(as: common.input.voidTypes)
    for note in archive.remarks {
      Console.note("\(path): \(note.escapingControlCharacters)", unless: common.quiet)
    }
    guard let root else { return archive }
    return try locatingErrors(path: path) { try archive.selecting(root: root) }
  }

  /// The model that a packed file is set beside: the part below `root`, or else the part that was
  /// packed, where the file has it. A copy may hold that part alone.
  static func openReference(
    _ path: String, root: String?, sourceRoot: String?, common: CommonOptions
  ) throws -> TensorArchive {
    let archive = try open(path, root: root, common: common)
    guard root == nil, let sourceRoot,
      archive.tensors.keys.contains(where: { $0.hasPrefix("\(sourceRoot).") })
    else { return archive }
    return try archive.selecting(root: sourceRoot)
  }

  /// Models whose layers can be set side by side: where they share no name because one keeps its
  /// weights below a conventional root, they are taken from there, which is said.
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

  /// The weights of a checkpoint: below `root`, or below the conventional root where it has one,
  /// which is said.
  static func openWeights(
    _ path: String, root: String?, common: CommonOptions
  ) throws -> (archive: TensorArchive, root: String?) {
    let archive = try open(path, root: root, common: common)
    guard root == nil, let conventional = archive.conventionalRoot else { return (archive, root) }
    let selected = try archive.selecting(root: conventional)
    let others = archive.tensors.count - selected.tensors.count
    Console.note(
      "\(path): taking the \(counted(selected.tensors.count, "tensor")) below '\(conventional)'"
        + (others > 0 ? ", leaving \(counted(others, "other"))" : "")
        + "; --root chooses another part",
      unless: common.quiet)
    return (selected, conventional)
  }
}
