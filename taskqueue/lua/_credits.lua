-- Credits of metered tenants. The balance is what was granted less what was spent. A task that starts
-- holds what it may cost at the most, as far as the balance goes; the hold ends with the lease, and
-- only a COMPLETED task is charged. limit:tenant has granted, spent and held; and waits, while the
-- tenant's next task needs credits that its others hold: until one of them ends, all of it is parked.

-- Apply half, gathered with the other counters.
local function count_credits(tenant, held, spent)
  tally(tenant.limit, "held", held)
  tally(tenant.limit, "spent", spent)
  tenant.held = tenant.held + held
  tenant.balance = tenant.balance - spent
  if tenant.waits then
    call("HDEL", tenant.limit, "waits")
    tenant.waits = false
  end
end

-- Apply half, when a lease ends: the hold goes, and up to as much as it was is charged. Returns what
-- is charged; a task that held nothing, because its tenant is not metered, only says what it cost.
local function end_hold(claim, charge)
  if not claim.hold then
    return charge
  end
  charge = min(charge, claim.hold)
  count_credits(claim.header.lane.tenant, -claim.hold, charge)
  call("HDEL", claim.run, "hold")
  return charge
end
