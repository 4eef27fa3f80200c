//! The reactor settles while the kubelet allocates.

use super::*;
use crate::allocator::ClaimState;
use ::loom::{model, thread};

#[test]
fn loom_a_grant_that_the_ledger_has_not_heard_of_is_not_settled_as_free() {
    model(|| {
        let mut node = Node::with(|host| host.plug(gpu(1)));
        let register = Arc::new(std::mem::take(&mut node.register));
        let resource = Arc::clone(&node.resources[GPU]);
        let slot = Arc::clone(resource.table().get(gpu(1)).unwrap());
        let (kubelet, now) = (Arc::clone(&register), node.now);
        let allocation = thread::spawn(move || kubelet.grant(&resource, &[[gpu(1).to_string()]], now).is_ok());
        // Something happens to the device meanwhile, so its group is looked at.
        node.node(&DevNode::Group(1), false);
        node.node(&DevNode::Group(1), true);
        let granted = allocation.join().unwrap();
        assert_eq!(slot.group_word().load().state() == ClaimState::Pending, granted);
        while let Some(answered) = register.take() {
            node.inventory.answered(&answered);
        }
        node.settle();
        assert_eq!(slot.group_word().load().state() == ClaimState::Pending, granted);
        assert_eq!(node.says(GPU, gpu(1)), if granted { "Healthy Claimed" } else { "Healthy Ready" });
    });
}
