import OrderedCollections

/// The weights of one network in a checkpoint.
package struct CheckpointNetwork: Hashable, Sendable {
  /// The common prefix of the network's names, for `TensorArchive.selecting(root:)`; `nil` for the
  /// whole file.
  package let root: String?
  /// The number of tensors below the root.
  package let tensorCount: Int
}

extension TensorArchive {
  /// The networks of a checkpoint, the preferred one first.
  ///
  /// Dictionaries and prefixes that training tools put around weights are unwrapped: roots such as
  /// `params_ema` and `state_dict`, `module.` of `DataParallel`, `_orig_mod.` of `torch.compile`,
  /// and `model.` and `generator.` below the root of a training checkpoint. The whole file is
  /// always among the networks.
  ///
  /// ```swift
  /// let archive = try FormatRegistry.standard.open("gan.ckpt")
  /// for network in archive.networks { print(network.root ?? "all", network.tensorCount) }
  /// ```
  package var networks: [CheckpointNetwork] {
    var search = WrapperSearch(self)
    var roots = [search.unwrapped("")]
    search.seesThroughAll = true
    roots.append(search.unwrapped(""))
    // Unwrapping one may find more.
    var index = 0
    while index < min(search.others.count, Self.networkLimit) {
      roots.append(search.unwrapped(search.others[index]))
      index += 1
    }
    let all = OrderedSet(roots + [""])
    return all.map { root in
      CheckpointNetwork(root: root.isEmpty ? nil : root, tensorCount: search.count(below: root))
    }
  }

  /// The most dictionaries that are searched.
  package static let networkLimit = 64

  /// The root below which this checkpoint keeps its weights; `nil` if it is the whole file.
  public var conventionalRoot: String? { networks.first?.root }

  /// The last name components of counters that training tools leave among weights.
  package static let counterNames: Set<String> = [
    "total_ops", "total_params", "num_batches_tracked", "n_averaged",
  ]
}

/// A search for weights below the wrappers that training tools put around them.
private struct WrapperSearch {
  private let archive: TensorArchive
  /// Whether to see everywhere, and not only inside a checkpoint, through prefixes that may as well
  /// be a module of the network itself.
  var seesThroughAll = false
  /// The roots of other networks, beside those that were selected.
  private(set) var others: [String] = []

  init(_ archive: TensorArchive) { self.archive = archive }

  /// Dictionaries that hold a model's weights, in order of preference.
  private static let dictionaries = [
    "params_ema", "params-ema", "params", "state_dict", "model_state_dict", "model", "net",
    "weights", "net_g_ema", "net_g", "netG", "generator_ema", "generator", "gen", "network",
    "model_state", "ema_model", "ema", "module", "G",
  ]
  /// Prefixes that never belong to the network itself.
  private static let prefixes: Set<String> = [
    "module", "_orig_mod", "_forward_module", "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module", "params_ema", "params-ema", "params", "state_dict",
    "model_state_dict",
  ]
  /// Prefixes of the network in a training tool's own module, in order of preference.
  private static let generators = [
    "params_ema", "params-ema", "net_g_ema", "generator_ema", "ema_model", "net_g", "netG",
    "generator", "params", "model", "net", "network",
  ]
  /// The generators that may also be modules of the network itself.
  private static let ambiguousGenerators: Set<String> = ["model", "net", "network"]
  /// Prefixes of the modules that accompany a generator.
  private static let companions = [
    "discriminator", "disc", "net_d", "netD", "critic", "perceptual", "vgg", "lpips", "criterion",
    "loss", "cri_", "params", "net_g", "netG", "generator", "ema", "online_model", "metric",
    "val_", "train_", "teacher",
  ]
  /// Parts of the names of training state, whose tensors are not weights.
  private static let states = ["optim", "sched", "scaler", "rng", "callback", "loop", "config"]

  func count(below root: String) -> Int {
    root.isEmpty
      ? archive.tensors.count : archive.tensors.keys.count { $0.hasPrefix("\(root).") }
  }

  /// Returns the root of the network below `root`, which is `root` itself if nothing wraps it.
  mutating func unwrapped(_ root: String) -> String {
    var root = root
    var isCheckpoint = !root.isEmpty
    while let next = step(below: root, isCheckpoint: isCheckpoint) {
      // A mere prefix does not make a file a checkpoint.
      isCheckpoint = isCheckpoint || !Self.prefixes.contains(next.name) || next.isContainer
      root = ArchiveStructure.join(root, next.name)
    }
    return root
  }

  private mutating func step(below root: String, isCheckpoint: Bool) -> (
    name: String, isContainer: Bool
  )? {
    let level = Level(archive, below: root)
    let containers = level.containers
    if let name = Self.dictionaries.first(where: { containers[$0] == .dictionary }) {
      addOthers(containers.keys.filter { $0 != name }, below: root)
      return (name, true)
    }
    let parts = level.parts
    if parts.count == 1, let name = parts.first, !level.hasLooseTensors {
      let isSeenThrough =
        Self.prefixes.contains(name) || containers[name] == .item
        || (isCheckpoint || seesThroughAll) && Self.generators.contains(name)
      if isSeenThrough { return (name, containers[name] != nil) }
    }
    if !level.hasLooseTensors,
      let name = Self.generators.first(where: { generator in
        parts.contains(generator)
          && (isCheckpoint || seesThroughAll || !Self.ambiguousGenerators.contains(generator))
          && parts.allSatisfy { part in
            part == generator || Self.companions.contains { part.hasPrefix($0) }
          }
      })
    {
      addOthers(parts.filter { $0 != name }, below: root)
      return (name, containers[name] != nil)
    }
    if seesThroughAll { addOthers(Array(containers.keys), below: root) }
    return nil
  }

  private mutating func addOthers(_ names: [String], below root: String) {
    for name in names where !Self.states.contains(where: { name.lowercased().contains($0) }) {
      let other = ArchiveStructure.join(root, name)
      if !others.contains(other) { others.append(other) }
    }
  }

  /// The content directly below a root.
  private struct Level {
    enum Container { case dictionary, item }

    /// The first components of longer names, in the order of the file.
    let parts: OrderedSet<String>
    /// Whether a tensor of more than one element lies directly below the root, so that weights
    /// begin here.
    let hasLooseTensors: Bool
    /// Dictionaries, and dictionaries in lists, that contain tensors.
    let containers: OrderedDictionary<String, Container>

    init(_ archive: TensorArchive, below root: String) {
      var parts: OrderedSet<String> = []
      var hasLooseTensors = false
      let prefix = root.isEmpty ? "" : "\(root)."
      for (name, tensor) in archive.tensors where name.hasPrefix(prefix) {
        let rest = name.dropFirst(prefix.count)
        if let dot = rest.firstIndex(of: ".") {
          if !TensorArchive.counterNames.contains(String(rest[rest.index(after: dot)...])) {
            parts.append(String(rest[..<dot]))
          }
        } else if tensor.shape.elementCount > 1 {
          hasLooseTensors = true
        }
      }
      self.parts = parts
      self.hasLooseTensors = hasLooseTensors
      var containers: OrderedDictionary<String, Container> = [:]
      func add(_ name: String, _ value: ArchiveStructure, as kind: Container) {
        let full = "\(prefix)\(name)."
        guard case .dictionary = value, archive.tensors.keys.contains(where: { $0.hasPrefix(full) })
        else { return }
        containers[name] = kind
      }
      switch root.isEmpty ? archive.structure : archive.structure?.subtree(at: root) {
      case .dictionary(let entries, _):
        for entry in entries {
          add(ArchiveStructure.component(of: entry.key), entry.value, as: .dictionary)
        }
      case .list(let items), .tuple(let items):
        for (index, item) in items.enumerated() { add("\(index)", item, as: .item) }
      default: break
      }
      self.containers = containers
    }
  }
}
